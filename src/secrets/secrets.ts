import type { Keys } from '../domain/keys.ts'
import type { ConfiguredVendor } from '../providers/vendor.ts'
import type { SecretPlace } from './secret-source.ts'

/** Everything that is read from where secrets are kept, each group whole or not at all. */
export interface Secrets {
  /** DATABASE_URL; undefined means the embedded PostgreSQL. */
  readonly databaseUrl: string | undefined
  /** DATABASE_LISTEN_URL: where to listen for changes, past any pooler; undefined: where DATABASE_URL leads. */
  readonly databaseListenUrl: string | undefined
  /** The vendors that have credentials, by name. With none at all the sandbox stands in for them. */
  readonly vendors: Readonly<Record<string, ConfiguredVendor>>
  /** CODE_KEYS, PII_KEYS and INDEX_KEY; undefined only with the embedded database, which has keys of its own. */
  readonly keys: Keys | undefined
}

export const DATABASE_URL: SecretPlace = { name: 'DATABASE_URL', path: 'database', field: 'url' }
export const DATABASE_LISTEN_URL: SecretPlace = { name: 'DATABASE_LISTEN_URL', path: 'database', field: 'listen-url' }
export const KEY_SECRETS: readonly SecretPlace[] = [
  { name: 'CODE_KEYS', path: 'keys', field: 'code-keys' },
  { name: 'PII_KEYS', path: 'keys', field: 'pii-keys' },
  { name: 'INDEX_KEY', path: 'keys', field: 'index-key' },
]
