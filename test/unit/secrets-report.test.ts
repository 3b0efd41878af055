import { expect, test } from 'vitest'
import { createLogger } from '../../src/telemetry/logger.ts'
import { createMetrics } from '../../src/telemetry/metrics.ts'
import { reportSecretsReads } from '../../src/telemetry/secrets-report.ts'

const AWAY = 'VAULT_ADDR: must be a Vault that can be reached (ECONNREFUSED)'
const SEALED = 'VAULT_ADDR: must be a Vault that is unsealed and in service (503)'
const PATHS = ['database', 'keys'].map((path) => `VAULT_PATH_PREFIX: ${path} must be readable`)
const NEW_INDEX = 'INDEX_KEY: another one finds nothing of what was stored; the old one stays'

function report() {
  const lines: { level: string; problems?: string[] }[] = []
  const log = createLogger('info', { write: (line) => void lines.push(JSON.parse(line)) })
  const reads = reportSecretsReads({ log, metrics: createMetrics() })
  return {
    failed: (...problems: string[]) => reads.onError(new Error('unread'), problems),
    read: (...refused: string[]) => reads.onRead({ changed: [], refused, secrets: { keys: undefined } }),
    /** What was told since the last time. */
    told: () => lines.splice(0).map(({ level, problems }) => [level, ...(problems ?? [])]),
  }
}

test('a problem is told once, in whichever order and turn the problems come', () => {
  const { failed, told } = report()
  failed(...PATHS)
  expect(told()).toEqual([['error', ...PATHS]])
  failed(...PATHS.toReversed())
  failed(AWAY)
  expect(told()).toEqual([['error', AWAY]])
  failed(...PATHS)
  failed(AWAY)
  expect(told()).toEqual([])
  failed(SEALED)
  expect(told()).toEqual([['error', SEALED]])
})

test('its end is told, and then the problem again when it is new', () => {
  const { failed, read, told } = report()
  failed(AWAY)
  read()
  read()
  failed(AWAY)
  expect(told()).toEqual([['error', AWAY], ['info'], ['error', AWAY]])
})

test('what is not taken over is told once, until it is', () => {
  const { failed, read, told } = report()
  read(NEW_INDEX)
  read(NEW_INDEX)
  failed(AWAY)
  read(NEW_INDEX)
  failed(AWAY)
  read()
  expect(told()).toEqual([['warn', NEW_INDEX], ['error', AWAY], ['error', AWAY], ['info']])
})
