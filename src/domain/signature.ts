import type { Transaction } from './transaction.ts'

/** How a signature stands. Every status but PENDING is final. */
export type SignatureStatus = 'PENDING' | 'SIGNED' | 'FAILED' | 'EXPIRED' | 'ABORTED'

/** One transaction to be signed. */
export interface Signature {
  id: string
  status: SignatureStatus
  transaction: Transaction
  /** Oldest first. */
  challengeIds: string[]
  createdAt: Date
  expiresAt: Date
  /** When it reached its final status. */
  completedAt: Date | null
}

/** The types of events on a timeline. Each event is written in the transaction of its change. */
export type TimelineEventType =
  | 'SIGNATURE_STARTED'
  | 'PROVIDER_SKIPPED'
  | 'CHALLENGE_STARTED'
  | 'CHALLENGE_SENT'
  | 'CHALLENGE_OUTCOME_UNKNOWN'
  | 'CHALLENGE_FAILED'
  | 'CHALLENGE_CANCELLED'
  | 'DELIVERY_REPORTED'
  | 'CODE_REJECTED'
  | 'SIGNATURE_SIGNED'
  | 'SIGNATURE_FAILED'
  | 'SIGNATURE_EXPIRED'
  | 'SIGNATURE_ABORTED'

/** One thing that happened to a signature. */
export interface TimelineEvent {
  /** 1 for the first, counting up without gaps. */
  position: number
  createdAt: Date
  type: TimelineEventType
  challengeId: string | null
  details: Record<string, string>
}
