import type { Channel } from '../domain/challenge.ts'
import type { FailureClass, ProviderResult } from '../domain/delivery.ts'
import type { Transaction } from '../domain/transaction.ts'

/** What an adapter makes a message of. Phone number, push token and code are in clear: never log it. */
export interface ChallengeMessage {
  signatureId: string
  challengeId: string
  /** Which call of the challenge's delivery this is; 1 for the first. */
  attempt: number
  phone: string
  /** Where the customer's app gets push messages; undefined when it can't. */
  pushToken: string | undefined
  code: string
  transaction: Transaction
  /** BCP 47. */
  locale: string
  /** By the database's clock, which this process's may differ from: look at `leftMs` for how long that is. */
  expiresAt: Date
  /** Milliseconds until its code expires. */
  leftMs(): number
}

/** Returns the whole seconds until a message's code expires; not below 0. */
export function secondsLeft({ leftMs }: ChallengeMessage): number {
  return Math.max(0, Math.floor(leftMs() / 1_000))
}

/** A call to a provider that did not end with a message taken and proven. Its message names codes only, no personal data. */
export class ProviderError extends Error {
  override readonly name = 'ProviderError'
  readonly provider: string
  /** The provider's own code where it gave one ("21614"), else what happened ("HTTP_503", "TIMEOUT", "ECONNREFUSED"). */
  readonly providerErrorCode: string
  readonly failureClass: FailureClass
  /** What metrics count it under: its code, or its class where the code is none that we know, as those have no end. */
  readonly label: string
  /** The wait that the provider asks for. */
  readonly retryAfterMs: number | undefined

  constructor(
    provider: string,
    providerErrorCode: string,
    failureClass: FailureClass,
    { retryAfterMs, isInvented = false }: { retryAfterMs?: number | undefined; isInvented?: boolean } = {},
  ) {
    super(`${provider}: ${providerErrorCode} (${failureClass})`)
    this.provider = provider
    this.providerErrorCode = providerErrorCode
    this.failureClass = failureClass
    this.label = isInvented ? `other_${failureClass}` : providerErrorCode
    this.retryAfterMs = retryAfterMs
  }
}

/** One provider of one channel. An adapter makes one call and returns or throws its outcome; it never retries. */
export interface SignatureProvider {
  /** `<vendor>-<channel>`, as routes name it. */
  readonly name: string
  readonly channel: Channel
  /** The most one call may take, in milliseconds. */
  readonly timeoutMs: number
  /** True if the vendor is asked for receipts of each message. */
  readonly reportsDelivery: boolean
  /** Sends a message once. Throws {@link ProviderError} and nothing else. */
  sendChallenge(message: ChallengeMessage, signal: AbortSignal): Promise<ProviderResult>
  /** True if the provider would serve us: it can be reached, our credentials are valid, our account is active. Sends nothing. */
  isAvailable(signal: AbortSignal): Promise<boolean>
}
