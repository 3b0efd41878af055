import { TOKEN } from '../settings.ts'
import { callVault, field, unexpected, VaultError } from './vault-http.ts'
import type { VaultLogin, VaultSettings } from './vault-settings.ts'

/** A token that reads are allowed by. Times are by the process's own clock, `performance.now()`. */
export interface VaultSession {
  readonly token: string
  /** Infinity for a token that never ends, or whose end Vault doesn't report. */
  readonly endsAtMs: number
  /** When half of its life is over, and it is to be renewed; Infinity when it can't be. */
  readonly renewAtMs: number
}

/**
 * The session for the next reads: the one before while its token lives, renewed in good time. A login comes only when
 * there is none, as the secret id that it takes may be good for one.
 */
export async function continueSession(
  vault: VaultSettings,
  before: VaultSession | undefined,
  signal: AbortSignal,
): Promise<VaultSession> {
  const { auth } = vault
  const now = performance.now()
  const isOver = !before || now >= before.endsAtMs || ('token' in auth && auth.token !== before.token)
  if (!isOver) return now < before.renewAtMs ? before : await renew(vault, before, signal)
  if (!('token' in auth)) return await login(vault, auth, signal)
  // Nothing is known of a token that was given: how long it lives, its renewal says.
  return await renew(vault, { token: auth.token, endsAtMs: Infinity, renewAtMs: Infinity }, signal)
}

/** True if Vault no longer knows the token: it has expired, was revoked, or its uses are over. */
export async function isDead(vault: VaultSettings, { token }: VaultSession, signal: AbortSignal): Promise<boolean> {
  const { status } = await callVault(vault, { method: 'GET', path: 'auth/token/lookup-self', token }, signal)
  return status === 403
}

/** https://developer.hashicorp.com/vault/api-docs/auth/approle#login-with-approle, and the same for Kubernetes */
async function login(vault: VaultSettings, auth: VaultLogin, signal: AbortSignal): Promise<VaultSession> {
  const call = { method: 'POST' as const, path: `auth/${auth.mount}/login`, body: auth.body }
  const beganAtMs = performance.now()
  const answer = await callVault(vault, call, signal)
  const { status } = answer
  if (status === 400 || status === 403)
    throw new VaultError(`${auth.settings}: must be accepted by Vault, which refused the login (${status})`)
  if (status === 404) throw new VaultError('VAULT_AUTH_MOUNT: must be where the auth method is mounted (404)')
  return sessionIn(answer, 'the login', beganAtMs)
}

/**
 * https://developer.hashicorp.com/vault/api-docs/auth/token#renew-a-token-self. A token that can't be renewed, or no longer
 * as its maximum life is over, serves until its end.
 */
async function renew(vault: VaultSettings, before: VaultSession, signal: AbortSignal): Promise<VaultSession> {
  const { token } = before
  const beganAtMs = performance.now()
  const answer = await callVault(vault, { method: 'POST', path: 'auth/token/renew-self', token }, signal)
  const { status } = answer
  if (status === 400 || status === 403 || status === 404) return { ...before, renewAtMs: Infinity }
  return sessionIn(answer, 'the renewal of its token', beganAtMs)
}

/** Returns the session in an answer that has `auth` in it. Throws a VaultError if its token can't be put into a header. */
function sessionIn(answer: { status: number; body: unknown }, what: string, beganAtMs: number): VaultSession {
  const auth = field(answer.body, 'auth')
  const token = TOKEN.parse(String(field(auth, 'client_token') ?? ''))
  if (!token) throw unexpected(answer.status, what)
  const lifeMs = Number(field(auth, 'lease_duration')) * 1_000 || Infinity
  const isRenewable = field(auth, 'renewable') === true
  return { token, endsAtMs: beganAtMs + lifeMs, renewAtMs: isRenewable ? beganAtMs + lifeMs / 2 : Infinity }
}
