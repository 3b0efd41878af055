import { abortCode } from '../http-exchange.ts'
import { ProviderError } from '../provider.ts'
import { createTokenSource, type GoogleCredentials } from './google-token-source.ts'

interface AccessTokenConfig {
  /** Who asks, for errors. */
  provider: string
  credentials: GoogleCredentials
  scope: string
  /** For all that it takes to get one token. */
  timeoutMs: number
  clock: () => Date
}

/** Access tokens of Google, one at a time. */
export interface AccessTokens {
  /**
   * A token that is good for a minute at least. Throws {@link ProviderError}, never of a class that says that a message
   * may have been sent.
   */
  get(signal: AbortSignal): Promise<string>
  /** Drops a token that was refused. */
  forget(token: string): void
}

interface Token {
  value: string
  usableUntilMs: number
}

const EARLY_MS = 60_000
/**
 * Gets access tokens. Callers at the same time share one request, which none of them ends by giving up. Throws a TypeError
 * when a service account's key is no RSA key in PEM.
 */
export function createAccessTokens({ timeoutMs, ...config }: AccessTokenConfig): AccessTokens {
  const { provider, clock } = config
  const fetchFresh = createTokenSource(config)
  let held: Token | undefined
  let fetching: Promise<Token> | undefined

  async function fetchToken(): Promise<Token> {
    const now = clock().getTime()
    const { value, seconds } = await fetchFresh(AbortSignal.timeout(timeoutMs))
    return { value, usableUntilMs: now + seconds * 1_000 - EARLY_MS }
  }

  function fetchOnce(): Promise<Token> {
    fetching ??= fetchToken()
      .then((token) => {
        held = token
        return token
      })
      .finally(() => {
        fetching = undefined
      })
    // All who wait for it may have given up.
    fetching.catch(() => {})
    return fetching
  }

  return {
    async get(signal) {
      if (signal.aborted) throw new ProviderError(provider, abortCode(signal), 'transient')
      if (held && clock().getTime() < held.usableUntilMs) return held.value
      const { value } = await orGivenUp(provider, fetchOnce(), signal)
      return value
    },
    forget(token) {
      // A newer one may have come while the refused one was used.
      if (held?.value === token) held = undefined
    },
  }
}

async function orGivenUp<T>(provider: string, work: Promise<T>, signal: AbortSignal): Promise<T> {
  const { promise: givenUp, reject } = Promise.withResolvers<never>()
  const giveUp = () => reject(new ProviderError(provider, abortCode(signal), 'transient'))
  signal.addEventListener('abort', giveUp, { once: true })
  try {
    return await Promise.race([work, givenUp])
  } finally {
    signal.removeEventListener('abort', giveUp)
  }
}
