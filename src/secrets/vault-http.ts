import { readUpTo } from '../net/read-up-to.ts'
import { parseJson } from '../settings.ts'
import type { VaultSettings } from './vault-settings.ts'

const CALL_TIMEOUT_MS = 5_000
const MAX_ANSWER_BYTES = 64 * 1024

/** Its message is a line of `NAME: what it must be`. */
export class VaultError extends Error {
  override readonly name = 'VaultError'
}

interface VaultCall {
  method: 'GET' | 'POST'
  /** Under /v1/. */
  path: string
  token?: string
  body?: object
}

/**
 * Makes one call, of at most 5 s and 64 KiB of answer. `body` is the parsed answer to a 200, else undefined. Throws
 * {@link VaultError} when Vault can't be reached or isn't in service.
 */
export async function callVault(
  { address, namespace }: VaultSettings,
  { method, path, token, body }: VaultCall,
  signal: AbortSignal,
): Promise<{ status: number; body: unknown }> {
  const timeout = AbortSignal.timeout(CALL_TIMEOUT_MS)
  const headers = new Headers({ 'X-Vault-Request': 'true' })
  if (token) headers.set('X-Vault-Token', token)
  if (namespace) headers.set('X-Vault-Namespace', namespace)
  try {
    const response = await fetch(`${address}/v1/${path}`, {
      method,
      headers,
      ...(body && { body: JSON.stringify(body) }),
      redirect: 'manual',
      signal: AbortSignal.any([signal, timeout]),
    })
    const text = String((await readUpTo(MAX_ANSWER_BYTES, response.body)) ?? '')
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

export function unexpected(status: number, what: string): VaultError {
  return new VaultError(`VAULT_ADDR: must be a Vault; it answered ${what} with status ${status} and nothing usable`)
}

/** The field of a parsed answer, or of a part of it. */
export function field(value: unknown, name: string): unknown {
  return typeof value === 'object' && value !== null ? (value as Record<string, unknown>)[name] : undefined
}

/** The system's or the TLS library's code, such as ECONNREFUSED. */
function causeCode(error: unknown): unknown {
  return field(error instanceof Error ? error.cause : undefined, 'code')
}
