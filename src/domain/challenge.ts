/** How a code travels. */
export type Channel = (typeof CHANNELS)[number]
export const CHANNELS = ['SMS', 'VOICE', 'PUSH'] as const

/** A provider that a route may use. */
export interface Candidate {
  provider: string
  channel: Channel
}

/** Why a challenge went to its provider: the only one to begin with, the one drawn, or one after others. */
export type Choice = 'FIRST_IN_LINE' | 'DRAWN_BY_WEIGHT' | 'NEXT_PROVIDER' | 'NEXT_CHANNEL' | 'RESENT'

/** Why a provider was not used, or made way for the next one. */
export type PassReason =
  /** Paused by an operator. */
  | 'PAUSED'
  /** Its circuit breaker is open: too many calls failed. */
  | 'BREAKER_OPEN'
  /** This replica has as many deliveries under way with it as it may. */
  | 'OVERLOADED'
  /** This replica has no credentials for it. */
  | 'NOT_CONFIGURED'
  /** The request came without a push token. */
  | 'NO_PUSH_TOKEN'
  /** Another provider of the channel reported that this recipient can't be reached. */
  | 'RECIPIENT_REFUSED'
  /** It was called, and the recipient can't be reached. */
  | 'DESTINATION_UNREACHABLE'
  /** It was called, and did not take the message. */
  | 'PROVIDER_UNAVAILABLE'
  /** It was called, and may have sent the message; the code was cancelled. */
  | 'OUTCOME_UNKNOWN'
  /** It sent the message, which did not arrive. */
  | 'UNDELIVERED'

/** A provider that comes before the one used, and why it was passed over. */
export interface PassedOver extends Candidate {
  reason: PassReason
}

/** How a challenge stands. PENDING and SENT can be completed; the others are final. */
export type ChallengeStatus = 'PENDING' | 'SENT' | 'COMPLETED' | 'FAILED' | 'EXPIRED' | 'CANCELLED'

/** The statuses in which a code can be completed. A signature has at most one challenge in one of them. */
export const OPEN: readonly ChallengeStatus[] = ['PENDING', 'SENT']

/**
 * What the provider says of the message, from the least to the last word. It only moves up. DELIVERED is the last word: a
 * message that the carrier gave up may still arrive, and one that arrived stays so.
 */
export const DELIVERY_STATUSES = ['UNKNOWN', 'ACCEPTED', 'SENT', 'UNDELIVERED', 'DELIVERED'] as const
export type DeliveryStatus = (typeof DELIVERY_STATUSES)[number]

/** Why a challenge failed. */
export type ChallengeFailureReason = 'DESTINATION_UNREACHABLE' | 'PROVIDER_UNAVAILABLE' | 'TRIES_EXHAUSTED'

/** One code, sent over one channel for a signature. */
export interface Challenge {
  id: string
  signatureId: string
  channel: Channel
  provider: string
  status: ChallengeStatus
  /** Null until a delivery has ended with something to report. */
  deliveryStatus: DeliveryStatus | null
  /** The provider's id of the message. */
  providerChallengeId: string | null
  maskedPhone: string
  triesRemaining: number
  createdAt: Date
  sentAt: Date | null
  expiresAt: Date
  /** What the vendor's last receipt that moved the delivery status said. */
  deliveryReport: { vendorStatus: string; providerErrorCode: string | null; reportedAt: Date } | null
  failure: { reason: ChallengeFailureReason; providerErrorCode: string | null } | null
  /** Null for challenges from before the routing table had versions. */
  routingTableVersion: number | null
  /** Of the row that chose the provider. */
  routePriority: number
  /** Why it was this provider; null for challenges from before routes had several. */
  choice: Choice | null
  /** The providers before it in order, and why each was passed over. */
  passedOver: PassedOver[]
}
