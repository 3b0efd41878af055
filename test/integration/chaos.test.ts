import { expect, test } from 'vitest'
import { SYSTEM_FAULTS } from '../../chaos/faults.ts'
import { KILL_POINTS } from '../../chaos/kill-points.ts'
import { PROVIDER_FAULTS } from '../../chaos/provider-faults.ts'
import { reportText } from '../../chaos/report.ts'
import { runChaos } from '../../chaos/run.ts'

const names = (kinds: readonly { name: string }[]) => kinds.map(({ name }) => name)

test('two replicas lose nothing and accept nothing twice, whatever is killed, cut or away', async ({ signal }) => {
  const report = await runChaos({ kills: 24, faults: 90, seconds: 240, seed: 7 }, signal)
  expect(report.violations, reportText(report)).toEqual([])
  expect([...report.kills.keys()]).toEqual(expect.arrayContaining(names(KILL_POINTS)))
  expect([...report.faults.keys()]).toEqual(expect.arrayContaining(names([...PROVIDER_FAULTS, ...SYSTEM_FAULTS])))
}, 400_000)
