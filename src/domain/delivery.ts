import type { ChallengeFailureReason } from './challenge.ts'

/** What is kept in clear to prove that a provider took a message. Holds neither code nor phone number, nor a hash of them. */
export interface ProviderProof {
  /** The provider's name for the exchange, for example Twilio's request id. */
  requestId: string | null
  httpStatus: number
  /** Those that name the exchange. */
  headers: Record<string, string>
  receivedAt: string
}

/** A provider's answer as it is stored: sealed, as it may name the phone number. It holds neither code nor credential. */
export interface KeptAnswer {
  status: number
  /** Those of the proof, and a signature where the provider sends one. */
  headers: Record<string, string>
  /** With ###### in the place of the code. Left out where code or credential are still in it, or when it is over 16 KiB. */
  body?: string
}

/** A message that the provider took. */
export interface ProviderResult {
  /** The provider's id of the message, for example Twilio's message SID. */
  providerChallengeId: string
  providerProof: ProviderProof
  answer: KeptAnswer
  sentAt: Date
}

/**
 * What a failed call means for the delivery:
 * - `transient`: not sent, or failed in a way that passes; try again.
 * - `unknown`: may have been sent; try again with the same code.
 * - `unproven`: taken, but the answer can't be used; trying again would send twice.
 * - `recipient`: this number can't be reached by any provider of the channel.
 * - `pair`: this message is refused, for its number and our account or sender together or for what is in it; another
 *   provider may take it, and it says nothing of this one.
 * - `ours`: the provider refuses us for every recipient; only another provider helps.
 */
export type FailureClass = 'transient' | 'unknown' | 'unproven' | 'recipient' | 'pair' | 'ours'

/** One call to a provider. */
export interface Attempt {
  /** 1 for the first. */
  number: number
  /** `not_made` when something came in its way after it was written down. */
  outcome: 'sent' | 'not_made' | FailureClass
  providerErrorCode: string | null
  startedAt: Date
  endedAt: Date
}

/** How a delivery ended, with every call it made. */
export type DeliveryOutcome = { attempts: Attempt[] } & (
  | ({ outcome: 'sent' } & ProviderResult)
  /** Some call may have sent the message, and none proved it. With `taken`, the provider has said yes to one. */
  | { outcome: 'unknown'; taken: boolean }
  | {
      outcome: 'failed'
      reason: Exclude<ChallengeFailureReason, 'TRIES_EXHAUSTED'>
      providerErrorCode: string | null
    }
)
