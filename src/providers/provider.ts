import type { Channel } from '../domain/challenge.ts'
import type { Transaction } from '../domain/transaction.ts'

/** What an adapter makes a message of. Phone number and code are in clear: never log it. */
export interface ChallengeMessage {
  challengeId: string
  phone: string
  code: string
  transaction: Transaction
  /** BCP 47. */
  locale: string
  /** By this process's clock. */
  expiresAt: Date
}

/** What is kept to prove that a provider took a message. Holds neither code nor phone number. */
export interface ProviderProof {
  /** The provider's name for the exchange, for example Twilio's request id. */
  requestId: string | null
  httpStatus: number
  /** As received. */
  headers: Record<string, string>
  /** SHA-256 of the response's body, hex. */
  bodySha256: string
  /** A signature header, where the provider sends one. */
  signature: string | null
  receivedAt: string
}

/** A message that the provider took. */
export interface ProviderResult {
  /** The provider's id of the message, for example Twilio's message SID. */
  providerChallengeId: string
  providerProof: ProviderProof
  sentAt: Date
}

/**
 * What a failed call means for the delivery:
 * - `transient`: not sent, or failed in a way that passes; try again.
 * - `unknown`: may have been sent; try again with the same code.
 * - `unproven`: taken, but the answer can't be used; trying again would send twice.
 * - `recipient`: this number can't be reached; nobody on this channel could.
 * - `ours`: the provider refuses us, not the recipient; only another provider helps.
 */
export type FailureClass = 'transient' | 'unknown' | 'unproven' | 'recipient' | 'ours'

/** A call to a provider that did not end with a message taken and proven. Its message names codes only, no personal data. */
export class ProviderError extends Error {
  override readonly name = 'ProviderError'
  readonly provider: string
  /** The provider's own code where it gave one ("21614"), else what happened ("HTTP_503", "TIMEOUT", "ECONNREFUSED"). */
  readonly providerErrorCode: string
  readonly failureClass: FailureClass
  /** How long the provider asks us to wait. */
  readonly retryAfterMs: number | undefined

  constructor(provider: string, providerErrorCode: string, failureClass: FailureClass, retryAfterMs?: number) {
    super(`${provider}: ${providerErrorCode} (${failureClass})`)
    this.provider = provider
    this.providerErrorCode = providerErrorCode
    this.failureClass = failureClass
    this.retryAfterMs = retryAfterMs
  }
}

/** One provider of one channel. An adapter makes one call and says what came of it; retries are not its business. */
export interface SignatureProvider {
  /** `<vendor>-<channel>`, as routes name it. */
  readonly name: string
  readonly channel: Channel
  /** Sends a message once. Throws {@link ProviderError} and nothing else. */
  sendChallenge(message: ChallengeMessage, signal: AbortSignal): Promise<ProviderResult>
  /** Asks the provider whether it would serve us: reachable, credentials good, account active. Sends nothing. */
  isAvailable(signal: AbortSignal): Promise<boolean>
}
