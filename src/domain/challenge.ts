import type { Choice, PassedOver } from './fallback.ts'

/** How a code travels. */
export type Channel = (typeof CHANNELS)[number]
export const CHANNELS = ['SMS', 'VOICE', 'PUSH'] as const

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
  /** Null until a delivery has ended with something to tell. */
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
