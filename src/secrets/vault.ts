import { isSet } from './environment.ts'
import type { ReadSecrets, SecretName, SecretSource } from './secret-source.ts'
import { type Env, TOKEN } from './settings.ts'
import { readVaultSettings, type VaultLogin, type VaultSettings } from './vault-settings.ts'

/** Where each secret is, under the mount and the prefix. */
const PLACES: Record<SecretName, { path: string; field: string }> = {
  DATABASE_URL: { path: 'database', field: 'url' },
  DATABASE_LISTEN_URL: { path: 'database', field: 'listen-url' },
  TWILIO_ACCOUNT_SID: { path: 'providers/twilio', field: 'account-sid' },
  TWILIO_AUTH_TOKEN: { path: 'providers/twilio', field: 'auth-token' },
  TWILIO_AUTH_TOKEN_PREVIOUS: { path: 'providers/twilio', field: 'auth-token-previous' },
  TWILIO_API_KEY_SID: { path: 'providers/twilio', field: 'api-key-sid' },
  TWILIO_API_KEY_SECRET: { path: 'providers/twilio', field: 'api-key-secret' },
  TWILIO_FROM_NUMBER: { path: 'providers/twilio', field: 'from-number' },
  TWILIO_VOICE_FROM: { path: 'providers/twilio', field: 'voice-from' },
  VONAGE_API_KEY: { path: 'providers/vonage', field: 'api-key' },
  VONAGE_API_SECRET: { path: 'providers/vonage', field: 'api-secret' },
  VONAGE_FROM: { path: 'providers/vonage', field: 'from' },
  VONAGE_SIGNATURE_SECRET: { path: 'providers/vonage', field: 'signature-secret' },
  FCM_SERVICE_ACCOUNT: { path: 'providers/fcm', field: 'service-account' },
  CODE_KEYS: { path: 'keys', field: 'code-keys' },
  PII_KEYS: { path: 'keys', field: 'pii-keys' },
  INDEX_KEY: { path: 'keys', field: 'index-key' },
}

/** What reads are allowed by; `usableUntilMs` is by the process's own clock, `performance.now()`. */
interface Session {
  readonly token: string
  readonly usableUntilMs: number
}

const CALL_TIMEOUT_MS = 5_000
const MAX_ANSWER_BYTES = 64 * 1024

/** Its message is a line of `NAME: what it must be`. */
class VaultError extends Error {
  override readonly name = 'VaultError'
}

/**
 * Secrets in HashiCorp Vault, in a key-value engine of version 2, and nowhere else: one that is set in the environment
 * too is a problem. Each path is read once, each call takes at most 5 s. In production Vault must be reached over https,
 * or on loopback. A login serves the reads of half its token's life, as Vault keeps every token until it expires.
 */
export function vaultSecrets(env: Env, production: boolean): SecretSource {
  let session: Session | undefined

  async function openSession(vault: VaultSettings, signal: AbortSignal): Promise<Session> {
    if ('token' in vault.auth) return { token: vault.auth.token, usableUntilMs: 0 }
    if (session && performance.now() < session.usableUntilMs) return session
    session = await login(vault, vault.auth, signal)
    return session
  }

  return {
    async read(names, signal): Promise<ReadSecrets> {
      const values: Partial<Record<SecretName, string>> = {}
      const missing: Partial<Record<SecretName, string>> = {}
      const problems = names
        .filter((name) => isSet(env, name))
        .map((name) => `${name}: must come from Vault alone; unset it and ${name}_FILE here`)
      const vault = await readVaultSettings(env, production, problems, signal)
      const token = vault && (await openSession(vault, signal).catch(collect(problems)))?.token
      if (!token) return { values, missing, problems }

      const answers = new Map<string, Promise<Record<string, unknown> | undefined>>()
      for (const { path } of names.map((name) => PLACES[name]))
        if (!answers.has(path)) answers.set(path, readPath(vault, token, path, signal).catch(collect(problems)))
      await Promise.all(answers.values())
      for (const name of names) {
        const { path, field } = PLACES[name]
        const fields = await answers.get(path)
        if (!fields) continue
        const value = fields[field] || undefined
        if (typeof value === 'string') values[name] = value
        else if (value === undefined)
          missing[name] = `put it in Vault, field ${field} of ${path} under VAULT_PATH_PREFIX`
        else problems.push(`${name}: must be text in Vault, field ${field} of ${path} under VAULT_PATH_PREFIX`)
      }
      // A token that was revoked is refused; the next read shall log in.
      if (problems.length > 0) session = undefined
      return { values, missing, problems: [...new Set(problems)] }
    },
  }
}

/** https://developer.hashicorp.com/vault/api-docs/auth/approle#login-with-approle, and the same for Kubernetes */
async function login(vault: VaultSettings, auth: VaultLogin, signal: AbortSignal): Promise<Session> {
  const loggedInAt = performance.now()
  const init = { method: 'POST', body: JSON.stringify(auth.body) }
  const answer = await call(vault, `auth/${auth.mount}/login`, init, signal)
  if (answer.status === 400 || answer.status === 403)
    throw new VaultError(`${auth.settings}: must be accepted by Vault, which refused the login (${answer.status})`)
  if (answer.status === 404) throw new VaultError('VAULT_AUTH_MOUNT: must be where the auth method is mounted (404)')
  const token = TOKEN.parse(String(field(field(answer.body, 'auth'), 'client_token') ?? ''))
  if (!token) throw unexpected(answer.status, 'the login')
  const seconds = Number(field(field(answer.body, 'auth'), 'lease_duration') ?? 0)
  return { token, usableUntilMs: loggedInAt + (seconds * 1_000) / 2 }
}

/**
 * The secret's fields, none when there is nothing at the path.
 * https://developer.hashicorp.com/vault/api-docs/secret/kv/kv-v2#read-secret-version
 */
async function readPath(
  vault: VaultSettings,
  token: string,
  path: string,
  signal: AbortSignal,
): Promise<Record<string, unknown>> {
  const init = { headers: { 'X-Vault-Token': token } }
  const answer = await call(vault, `${vault.mount}/data/${vault.prefix}/${path}`, init, signal)
  if (answer.status === 404) return {}
  if (answer.status === 403)
    throw new VaultError(
      `VAULT_PATH_PREFIX: ${path} under it must be readable with a valid token; Vault refused the read (403)`,
    )
  const fields = field(field(answer.body, 'data'), 'data')
  if (typeof fields !== 'object' || fields === null) throw unexpected(answer.status, `a read of ${path}`)
  return fields as Record<string, unknown>
}

/** `body` is the parsed answer to a 200, else undefined. */
async function call(vault: VaultSettings, path: string, init: RequestInit, signal: AbortSignal) {
  const timeout = AbortSignal.timeout(CALL_TIMEOUT_MS)
  const headers = new Headers(init.headers)
  headers.set('X-Vault-Request', 'true')
  if (vault.namespace) headers.set('X-Vault-Namespace', vault.namespace)
  try {
    const options: RequestInit = { ...init, headers, redirect: 'manual', signal: AbortSignal.any([signal, timeout]) }
    const response = await fetch(`${vault.address}/v1/${path}`, options)
    const text = await readCapped(response)
    if (response.status === 503)
      throw new VaultError('VAULT_ADDR: must be a Vault that is unsealed and in service (503)')
    return { status: response.status, body: response.status === 200 ? parseJson(text) : undefined }
  } catch (error) {
    if (error instanceof VaultError) throw error
    const why = timeout.aborted
      ? `no answer within ${CALL_TIMEOUT_MS / 1000} s`
      : (causeCode(error) ?? 'connection failed')
    throw new VaultError(`VAULT_ADDR: must be a Vault that can be reached (${why})`)
  }
}

async function readCapped(response: Response): Promise<string> {
  const chunks: Uint8Array[] = []
  let bytes = 0
  for await (const chunk of response.body ?? []) {
    bytes += chunk.length
    if (bytes > MAX_ANSWER_BYTES) return ''
    chunks.push(chunk)
  }
  return Buffer.concat(chunks).toString('utf8')
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined // the parser's own error quotes the text
  }
}

function unexpected(status: number, what: string): VaultError {
  return new VaultError(`VAULT_ADDR: must be a Vault; it answered ${what} with status ${status} and nothing usable`)
}

function field(value: unknown, name: string): unknown {
  return typeof value === 'object' && value !== null ? (value as Record<string, unknown>)[name] : undefined
}

/** The system's or the TLS library's code, such as ECONNREFUSED. */
function causeCode(error: unknown): unknown {
  return field(error instanceof Error ? error.cause : undefined, 'code')
}

function collect(problems: string[]) {
  return (error: unknown): undefined => {
    if (!(error instanceof VaultError)) throw error
    problems.push(error.message)
  }
}
