import { readFile } from 'node:fs/promises'
import type { Env } from '../settings.ts'
import type { ReadSecrets, SecretSource } from './secret-source.ts'

/** Secrets in environment variables: NAME holds the secret, or NAME_FILE names a file that does. */
export function environmentSecrets(env: Env): SecretSource {
  return {
    async read(secrets, signal): Promise<ReadSecrets> {
      const values: Record<string, string> = {}
      const missing: Record<string, string> = {}
      const problems: string[] = []
      for (const { name } of secrets) {
        const value = await readSecret(env, name, problems, signal)
        if (value) values[name] = value
        else if (!isSet(env, name)) missing[name] = `set ${name} or ${name}_FILE`
      }
      return { values, missing, problems, againWithinMs: Infinity }
    },
  }
}

/** True if NAME or NAME_FILE is set. */
export function isSet(env: Env, name: string): boolean {
  return Boolean(env[name] || env[`${name}_FILE`])
}

/** Returns what NAME holds, or the file that NAME_FILE names. undefined if neither is set, or with a problem added. */
export async function readSecret(
  env: Env,
  name: string,
  problems: string[],
  signal: AbortSignal,
): Promise<string | undefined> {
  const value = env[name]
  const path = env[`${name}_FILE`]
  if (value && path) problems.push(`${name}: must not be set together with ${name}_FILE`)
  else if (path) return readSecretFile(`${name}_FILE`, path, problems, signal)
  else return value || undefined
  return undefined
}

/** Returns what the file holds, without white space around it. undefined, with a problem added, if there is nothing to read. */
export async function readSecretFile(
  setting: string,
  path: string,
  problems: string[],
  signal: AbortSignal,
): Promise<string | undefined> {
  const text = await readFile(path, { encoding: 'utf8', signal }).catch(() => '')
  if (!text.trim()) problems.push(`${setting}: must name a readable file that isn't empty`)
  return text.trim() || undefined
}
