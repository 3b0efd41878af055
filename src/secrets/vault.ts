import type { Env } from '../settings.ts'
import { isSet } from './environment.ts'
import type { ReadSecrets, SecretSource } from './secret-source.ts'
import { callVault, field, unexpected, VaultError } from './vault-http.ts'
import { continueSession, isDead, type VaultSession } from './vault-session.ts'
import { readVaultSettings, type VaultSettings } from './vault-settings.ts'

type Fields = Readonly<Record<string, unknown>>

/** Vault refused the token, for this path or altogether. */
class RefusedError extends VaultError {}

/**
 * Secrets in HashiCorp Vault, in a key-value engine of version 2, and nowhere else: one that is set in the environment
 * too is a problem. Each path is read once, each call takes at most 5 s. In production Vault must be reached over https,
 * or on loopback. One login serves all reads while its token lives, which is renewed.
 */
export function vaultSecrets(env: Env, production: boolean): SecretSource {
  let session: VaultSession | undefined

  /** Returns the fields at each path, or why there are none. Logs in again if the token of an earlier read is dead. */
  async function readPaths(
    vault: VaultSettings,
    paths: string[],
    signal: AbortSignal,
  ): Promise<PromiseSettledResult<Fields>[]> {
    const before = session
    const current = await continueSession(vault, before, signal)
    session = current
    const results = await Promise.allSettled(paths.map((path) => readPath(vault, current.token, path, signal)))
    const isRefused = results.some((result) => result.status === 'rejected' && result.reason instanceof RefusedError)
    if (!isRefused || !(await isDead(vault, current, signal))) return results
    session = undefined
    if ('token' in vault.auth)
      throw new VaultError('VAULT_TOKEN: must be a token that Vault knows; it has expired or was revoked (403)')
    return before ? readPaths(vault, paths, signal) : results
  }

  return {
    async read(secrets, signal): Promise<ReadSecrets> {
      const values: Record<string, string> = {}
      const missing: Record<string, string> = {}
      const problems = secrets
        .filter(({ name }) => isSet(env, name))
        .map(({ name }) => `${name}: must come from Vault alone; unset it and ${name}_FILE here`)
      const vault = await readVaultSettings(env, production, problems, signal)
      const paths = [...new Set(secrets.map(({ path }) => path))]
      const results = vault && (await readPaths(vault, paths, signal).catch(collect(problems)))
      const found = new Map<string, Fields>()
      for (const [index, result] of results?.entries() ?? []) {
        if (result.status === 'fulfilled') found.set(paths[index] ?? '', result.value)
        else collect(problems)(result.reason)
      }
      for (const { name, path, field } of secrets) {
        const fields = found.get(path)
        if (!fields) continue
        const value = fields[field] || undefined
        if (typeof value === 'string') values[name] = value
        else if (value === undefined)
          missing[name] = `put it in Vault, field ${field} of ${path} under VAULT_PATH_PREFIX`
        else problems.push(`${name}: must be text in Vault, field ${field} of ${path} under VAULT_PATH_PREFIX`)
      }
      const againWithinMs = session ? session.renewAtMs - performance.now() : Infinity
      return { values, missing, problems: [...new Set(problems)], againWithinMs }
    },
  }
}

/**
 * Returns the secret's fields; none if there is nothing at the path. Throws a VaultError.
 * https://developer.hashicorp.com/vault/api-docs/secret/kv/kv-v2#read-secret-version
 */
async function readPath(vault: VaultSettings, token: string, path: string, signal: AbortSignal): Promise<Fields> {
  const call = { method: 'GET' as const, path: `${vault.mount}/data/${vault.prefix}/${path}`, token }
  const { status, body } = await callVault(vault, call, signal)
  if (status === 404) return {}
  if (status === 403)
    throw new RefusedError(
      `VAULT_PATH_PREFIX: ${path} under it must be readable with a valid token; Vault refused the read (403)`,
    )
  const fields = field(field(body, 'data'), 'data')
  if (typeof fields !== 'object' || fields === null) throw unexpected(status, `a read of ${path}`)
  return fields as Fields
}

function collect(problems: string[]) {
  return (error: unknown): undefined => {
    if (!(error instanceof VaultError)) throw error
    problems.push(error.message)
  }
}
