import { createPublicKey, randomBytes } from 'node:crypto'
import { compactVerify, errors } from 'jose'
import type { Dialect } from '../dialect.ts'
import { type Answer, isObject, parseJson } from '../http.ts'

export interface ServiceAccount {
  clientEmail: string
  /** SPKI PEM of the key that the account signs with. */
  publicKey: string
}

/** The access tokens that were issued and have not run out. */
export interface AccessTokens {
  issue(): string
  has(token: string): boolean
  expire(): void
}

const SUCCESS = { status: 200, type: 'application/json; charset=utf-8' }
const GRANT_TYPE = 'urn:ietf:params:oauth:grant-type:jwt-bearer'
const SCOPE = 'https://www.googleapis.com/auth/firebase.messaging'
const LIFETIME_SECONDS = 3_600
const MAX_TOKENS = 1_000
/** Google takes an assertion whose clock is some minutes ahead. */
const CLOCK_SKEW_SECONDS = 300

export function createAccessTokens(): AccessTokens {
  const expiries = new Map<string, number>()
  return {
    issue() {
      const token = `ya29.${randomBytes(32).toString('base64url')}`
      expiries.set(token, Date.now() + LIFETIME_SECONDS * 1_000)
      const [oldest] = expiries.keys()
      if (expiries.size > MAX_TOKENS && oldest) expiries.delete(oldest)
      return token
    },
    has: (token) => (expiries.get(token) ?? 0) > Date.now(),
    expire: () => expiries.clear(),
  }
}

/**
 * Google's token endpoint for service accounts, over plain HTTP at /token, which is also the audience it wants, with https
 * as well as with http. The order of its checks and their words are Google's:
 * https://developers.google.com/identity/protocols/oauth2/service-account
 */
export function googleTokenApi(account: ServiceAccount, tokens: AccessTokens): Dialect {
  const key = createPublicKey(account.publicKey)
  return {
    success: SUCCESS,
    owns: (path) => path === '/token',
    async read({ method, host, form }) {
      if (method !== 'POST') return error(404, 'not_found', 'There is nothing but POST here')
      const refusal =
        form.get('grant_type') === GRANT_TYPE
          ? await assertionRefusal(form.get('assertion') ?? '', `//${host}/token`)
          : error(400, 'unsupported_grant_type', `Invalid grant_type: ${form.get('grant_type')}`)
      return {
        target: 'fcm-token',
        refusal,
        accept() {
          const body = { access_token: tokens.issue(), expires_in: LIFETIME_SECONDS - 1, token_type: 'Bearer' }
          return { answer: { ...SUCCESS, body } }
        },
      }
    },
    error,
    headers: () => ({ 'Cache-Control': 'no-cache, no-store, max-age=0, must-revalidate' }),
    expireTokens: tokens.expire,
  }

  async function assertionRefusal(assertion: string, audience: string): Promise<Answer | undefined> {
    let payload: Uint8Array
    try {
      ;({ payload } = await compactVerify(assertion, key, { algorithms: ['RS256'] }))
    } catch (problem) {
      // Google does not say what it can't read in an assertion.
      if (problem instanceof errors.JWSInvalid) return error(400, 'invalid_request', 'Bad Request')
      return error(400, 'invalid_grant', 'Invalid JWT Signature.')
    }
    const claims = parseJson(new TextDecoder().decode(payload))
    if (!isObject(claims)) return error(400, 'invalid_request', 'Bad Request')
    const { iss, iat, exp, scope, aud } = claims
    if (iss !== account.clientEmail) return error(400, 'invalid_grant', 'Invalid grant: account not found')
    if (!areTimely(iat, exp)) {
      const rule = 'Token must be a short-lived token (60 minutes) and in a reasonable timeframe.'
      return error(400, 'invalid_grant', `Invalid JWT: ${rule} Check your iat and exp values in the JWT claim.`)
    }
    if (typeof scope !== 'string' || !scope.split(' ').includes(SCOPE)) {
      return error(400, 'invalid_scope', 'Invalid OAuth scope or ID token audience provided.')
    }
    const isOurs = aud === `http:${audience}` || aud === `https:${audience}`
    return isOurs ? undefined : error(400, 'invalid_grant', 'Invalid JWT: Failed audience check.')
  }
}

function areTimely(iat: unknown, exp: unknown): boolean {
  if (!Number.isInteger(iat) || !Number.isInteger(exp)) return false
  const [issued, expires, now] = [Number(iat), Number(exp), Math.floor(Date.now() / 1_000)]
  return issued <= now + CLOCK_SKEW_SECONDS && expires >= now && expires > issued && expires - issued <= 3_600
}

/** https://datatracker.ietf.org/doc/html/rfc6749#section-5.2 */
function error(status: number, code: number | string | undefined, message: string): Answer {
  const usual = status >= 500 ? 'internal_failure' : status === 429 ? 'rate_limit_exceeded' : 'invalid_grant'
  return {
    status,
    type: SUCCESS.type,
    body: { error: typeof code === 'string' ? code : usual, error_description: message },
  }
}
