import { createPrivateKey } from 'node:crypto'
import { SignJWT } from 'jose'
import { abortCode, exchange, isAccepted, jsonOf, refusal } from './http-exchange.ts'
import { ProviderError } from './provider.ts'

/** What the JSON file of a Google service account says of it. */
export interface ServiceAccount {
  projectId: string
  clientEmail: string
  /** PKCS #8, PEM. */
  privateKey: string
  /** For example https://oauth2.googleapis.com/token. */
  tokenUri: string
}

interface AccessTokenConfig {
  /** Who asks, for errors. */
  provider: string
  serviceAccount: ServiceAccount
  scope: string
  /** For one call to the token endpoint. */
  timeoutMs: number
  clock: () => Date
}

/** The access tokens of a service account, one at a time. */
export interface AccessTokens {
  /**
   * A token that is good for a minute at least. Throws {@link ProviderError}, never of a class that says that a message
   * may have been sent.
   */
  get(signal: AbortSignal): Promise<string>
  /** Gives up a token that was refused. */
  forget(token: string): void
}

interface Token {
  value: string
  usableUntilMs: number
}

/** https://developers.google.com/identity/protocols/oauth2/service-account: an hour at most. */
const ASSERTION_SECONDS = 3_600
const EARLY_MS = 60_000
/** RFC 6749, section 5.2, for example invalid_grant. */
const ERROR = /^[a-z_]{1,64}$/

/**
 * Gets access tokens by the JWT bearer grant (RFC 7523). Callers at the same time share one call to the token endpoint,
 * which none of them ends by giving up. Throws a TypeError when the service account's key is no RSA key in PEM.
 */
export function createAccessTokens({
  provider,
  serviceAccount,
  scope,
  timeoutMs,
  clock,
}: AccessTokenConfig): AccessTokens {
  const { clientEmail, tokenUri } = serviceAccount
  const key = readKey(serviceAccount.privateKey)
  let held: Token | undefined
  let fetching: Promise<Token> | undefined

  async function fetchToken(): Promise<Token> {
    const now = clock().getTime()
    const issuedAt = Math.floor(now / 1_000)
    const assertion = await new SignJWT({ scope })
      .setProtectedHeader({ alg: 'RS256', typ: 'JWT' })
      .setIssuer(clientEmail)
      .setAudience(tokenUri)
      .setIssuedAt(issuedAt)
      .setExpirationTime(issuedAt + ASSERTION_SECONDS)
      .sign(key)
    const grant = new URLSearchParams({ grant_type: 'urn:ietf:params:oauth:grant-type:jwt-bearer', assertion })
    const init = {
      method: 'POST',
      headers: { 'Content-Type': 'application/x-www-form-urlencoded', Accept: 'application/json' },
      body: grant.toString(),
    }
    const answer = await exchange(provider, tokenUri, init, AbortSignal.timeout(timeoutMs)).catch(nothingSent)
    const { access_token: value, expires_in: seconds, error } = jsonOf(answer)
    if (!isAccepted(answer)) {
      throw refusal(provider, answer, typeof error === 'string' && ERROR.test(error) ? error : undefined)
    }
    if (typeof value !== 'string' || value === '' || typeof seconds !== 'number') {
      throw new ProviderError(provider, 'UNUSABLE_TOKEN', 'transient')
    }
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

function readKey(pem: string) {
  const key = createPrivateKey(pem)
  if (key.asymmetricKeyType !== 'rsa') throw new TypeError('the key of a Google service account must be an RSA key')
  return key
}

/** Whatever went wrong with a token, no message has left. */
function nothingSent(error: unknown): never {
  if (!(error instanceof ProviderError)) throw error
  throw new ProviderError(error.provider, error.providerErrorCode, 'transient')
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
