import { EventEmitter } from 'node:events'
import { type Config, ConfigError } from './config.ts'
import type { Context } from './context.ts'
import { compareKeys, NOT_COMPARED } from './db/key-checks.ts'
import { openLiveSecrets } from './secrets/live-secrets.ts'
import type { Secrets } from './secrets/secrets.ts'
import { reportSecretsReads } from './telemetry/secrets-report.ts'

/** The secrets of a running service. Each function returns what was read last: call it at each use. */
export interface OpenSecrets extends AsyncDisposable {
  keys(): Context['keys']
  databaseUrl(): string
  /** The database's own address, where `databaseUrl` is that of a pooler. */
  databaseListenUrl(): string
  /** See {@link Context.readSecretsAgain}. */
  readAgain(): Promise<void>
  /** Calls `listener` with the secrets after each change. */
  onChange(listener: (secrets: Secrets) => void): void
}

/**
 * Keeps the in-memory secrets in sync with their source, and reports each read. `databaseUrl` and `keys` are used where
 * the source has none.
 */
export function openSecrets(
  config: Config,
  own: { databaseUrl: string; keys: Context['keys'] },
  reporting: Pick<Context, 'log' | 'metrics'>,
): OpenSecrets {
  const changes = new EventEmitter<{ change: [Secrets] }>()
  const report = reportSecretsReads(reporting)
  const live = openLiveSecrets(config, {
    read: config.readAgain,
    everyMs: config.secretsRefreshMs,
    findKeyProblems: ({ databaseUrl = own.databaseUrl, keys = own.keys }) =>
      compareKeys(databaseUrl, keys, { pooler: config.databasePooler }).catch(() => NOT_COMPARED),
    onRead(taken) {
      if (taken.changed.length > 0) changes.emit('change', taken.secrets)
      report.onRead(taken)
    },
    onError: (error) => report.onError(error, error instanceof ConfigError ? error.problems : ['the read failed']),
  })
  const databaseUrl = () => live.current.databaseUrl ?? own.databaseUrl
  return {
    keys: () => live.current.keys ?? own.keys,
    databaseUrl,
    databaseListenUrl: () => live.current.databaseListenUrl ?? databaseUrl(),
    readAgain: live.readAgain,
    onChange: (listener) => void changes.on('change', listener),
    [Symbol.asyncDispose]: () => live[Symbol.asyncDispose](),
  }
}
