import { expect, inject, test } from 'vitest'
import { SYSTEM_FAULTS } from '../../chaos/faults.ts'
import { KILL_POINTS } from '../../chaos/kill-points.ts'
import { PROVIDER_FAULTS } from '../../chaos/provider-faults.ts'
import { reportText } from '../../chaos/report.ts'
import { runChaos } from '../../chaos/run.ts'

/** Those that were never injected, or to no effect. */
function missing(kinds: readonly { name: string }[], counts: ReadonlyMap<string, number>): string[] {
  return kinds.map(({ name }) => name).filter((name) => !counts.has(name))
}

test('two replicas lose nothing and accept nothing twice, whatever is killed, cut or away', async ({ signal }) => {
  const report = await runChaos({ kills: 24, faults: 90, seconds: 400, seed: inject('seed') }, signal)
  expect(report.violations, reportText(report)).toEqual([])
  expect(missing(KILL_POINTS, report.kills)).toEqual([])
  expect(missing(PROVIDER_FAULTS, report.faults)).toEqual([])
  expect(missing(SYSTEM_FAULTS, report.faults)).toEqual([])
}, 600_000)
