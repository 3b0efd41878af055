import { mkdtemp, rename, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { startFakeVault } from './fake-vault.ts'

/** Where a service finds its secrets, outside its environment. */
export interface SecretPlace extends AsyncDisposable {
  /** The settings that lead there. */
  env: Record<string, string>
  /** Puts secrets there, in the place of those of the same names. */
  put(secrets: Record<string, string>): Promise<void>
  /** Makes it unreadable, until it is mended. */
  spoil(): Promise<void>
  mend(): Promise<void>
}

/** What may be kept elsewhere of a service's environment. */
export function secretsOf(env: Record<string, string>): Record<string, string> {
  const isSecret = /^(DATABASE_URL|(TWILIO|VONAGE|FCM)_(?!API_URL|TIMEOUT).*|(CODE|PII)_KEYS|INDEX_KEY)$/
  return Object.fromEntries(Object.entries(env).filter(([name]) => isSecret.test(name)))
}

/** A file for each secret. */
export async function secretFiles(secrets: Record<string, string>): Promise<SecretPlace> {
  const directory = await mkdtemp(join(tmpdir(), 'secrets-'))
  const aside = `${directory}-aside`
  async function put(changed: Record<string, string>) {
    for (const [name, value] of Object.entries(changed)) {
      await writeFile(join(directory, `${name}.new`), `${value}\n`)
      await rename(join(directory, `${name}.new`), join(directory, name))
    }
  }
  await put(secrets)
  return {
    env: Object.fromEntries(
      Object.keys(secrets).flatMap((name) => [
        [name, ''],
        [`${name}_FILE`, join(directory, name)],
      ]),
    ),
    put,
    spoil: () => rename(directory, aside),
    mend: () => rename(aside, directory),
    async [Symbol.asyncDispose]() {
      await rm(directory, { recursive: true, force: true })
      await rm(aside, { recursive: true, force: true })
    },
  }
}

/** A Vault that holds them, and is spoilt by its being sealed, or by the end of the token for it. */
export async function secretsInVault(
  secrets: Record<string, string>,
  spoilt: 'sealed' | 'token revoked' = 'sealed',
): Promise<SecretPlace> {
  const vault = await startFakeVault()
  async function put(changed: Record<string, string>) {
    for (const [name, value] of Object.entries(changed)) {
      const { path, field } = placeOf(name)
      vault.secrets.set(path, { ...vault.secrets.get(path), [field]: value })
    }
  }
  await put(secrets)
  return {
    env: {
      ...Object.fromEntries(Object.keys(secrets).map((name) => [name, ''])),
      SECRETS_SOURCE: 'vault',
      VAULT_ADDR: vault.url,
      VAULT_TOKEN: vault.token,
    },
    put,
    async spoil() {
      if (spoilt === 'sealed') vault.mode = 'sealed'
      else vault.revokeAll()
    },
    async mend() {
      if (spoilt === 'sealed') vault.mode = 'normal'
      else vault.issue(vault.token)
    },
    [Symbol.asyncDispose]: () => vault[Symbol.asyncDispose](),
  }
}

/** Where the operators' guide says that a secret is kept in Vault. */
function placeOf(name: string): { path: string; field: string } {
  const [, vendor = '', rest] = /^(?!CODE|PII|INDEX)([A-Z]+)_(.*)$/.exec(name) ?? []
  const folder = vendor === '' ? 'keys' : vendor === 'DATABASE' ? 'database' : `providers/${vendor.toLowerCase()}`
  const field = (rest ?? name).toLowerCase().replaceAll('_', '-')
  return { path: `signature-router/${folder}`, field }
}
