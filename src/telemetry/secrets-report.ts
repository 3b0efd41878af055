import type { Logger } from './logger.ts'
import type { Metrics } from './metrics.ts'

/** The outcome of reading the secrets again, by their names. */
interface SecretsRead {
  readonly changed: readonly string[]
  /** Lines that never hold a value. */
  readonly refused: readonly string[]
  readonly secrets: { readonly keys: { readonly code: CurrentKey; readonly pii: CurrentKey } | undefined }
}

interface CurrentKey {
  readonly currentId: string
}

/** Reports the outcome of reading the secrets again: each problem once, until a read finds it gone. */
export function reportSecretsReads({ log, metrics }: { log: Logger; metrics: Metrics }) {
  let reported: ReadonlySet<string> = new Set()
  return {
    onRead({ changed, refused, secrets: { keys } }: SecretsRead): void {
      const outcome = changed.length > 0 ? 'changed' : 'unchanged'
      metrics.secretsReads.inc({ outcome: refused.length > 0 ? 'refused' : outcome })
      const current = keys && { code_key_id: keys.code.currentId, pii_key_id: keys.pii.currentId }
      if (changed.length > 0) log.info({ secrets: changed, ...current }, 'secrets changed')
      const before = reported
      reported = new Set(refused)
      if (refused.some((problem) => !before.has(problem))) {
        log.warn({ problems: refused }, 'changed secrets not taken over')
      } else if (refused.length === 0 && before.size > 0) log.info('secrets read without a problem again')
    },
    // Nothing was read, so the problems reported before may still exist.
    onError(error: unknown, problems: readonly string[]): void {
      metrics.secretsReads.inc({ outcome: 'failed' })
      const before = reported
      reported = new Set([...before, ...problems])
      if (reported.size > before.size) log.error({ problems, error }, 'secrets not read, the last ones stay')
    },
  }
}
