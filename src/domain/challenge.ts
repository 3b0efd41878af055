/** How a code travels. */
export type Channel = 'SMS' | 'VOICE' | 'PUSH'

/** How a challenge stands. PENDING and SENT can be completed; the others are final. */
export type ChallengeStatus = 'PENDING' | 'SENT' | 'COMPLETED' | 'FAILED' | 'EXPIRED' | 'CANCELLED'

/** The statuses in which a code can be completed. A signature has at most one challenge in one of them. */
export const OPEN: readonly ChallengeStatus[] = ['PENDING', 'SENT']

/** What the provider says of the message. It only moves up. */
export type DeliveryStatus = 'UNKNOWN' | 'ACCEPTED' | 'SENT' | 'DELIVERED' | 'UNDELIVERED'

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
  failure: { reason: ChallengeFailureReason; providerErrorCode: string | null } | null
}
