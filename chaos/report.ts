import { cpus, totalmem } from 'node:os'
import type { Violation } from './world.ts'

/** What a run did and found. */
export interface Report {
  seed: number
  /** Why it ended: the counts were reached, the time was over, or a signal came. */
  endedBy: string
  seconds: number
  /** How often each had effect. */
  kills: ReadonlyMap<string, number>
  faults: ReadonlyMap<string, number>
  /** How often each RPC was answered how. */
  told: ReadonlyMap<string, number>
  starts: number
  vendorCalls: number
  rows: ReadonlyMap<string, number>
  violations: readonly Violation[]
}

const SHOWN_OF_EACH = 3

/** The report as text. */
export function reportText(report: Report): string {
  const { seed, seconds, endedBy, kills, faults, told, starts, vendorCalls, rows, violations } = report
  const machine = `${cpus().length} × ${cpus()[0]?.model ?? 'CPU'}, ${Math.round(totalmem() / 2 ** 30)} GiB, Node ${process.version}`
  const totals = new Map([
    ['starts', starts],
    ['calls to the vendor', vendorCalls],
    ['violations', violations.length],
  ])
  return [
    `seed ${seed}, ${seconds.toFixed(0)} s, ended by ${endedBy}, on ${machine}`,
    table('kills', kills),
    table('faults', faults),
    table('told', told),
    table('rows', rows),
    table('totals', totals),
    ...[...Map.groupBy(violations, ({ invariant }) => invariant)].map(([invariant, found]) =>
      [
        `VIOLATED ${found.length}×: ${invariant}`,
        ...found.slice(0, SHOWN_OF_EACH).map(
          ({ detail, after }) => `- ${detail}
  after ${after.join(', ')}`,
        ),
      ].join('\n'),
    ),
  ].join('\n\n')
}

function table(title: string, counts: ReadonlyMap<string, number>): string {
  const sum = [...counts.values()].reduce((total, one) => total + one, 0)
  const lines = [...counts].sort(([one], [other]) => one.localeCompare(other))
  const width = Math.max(title.length, ...lines.map(([name]) => name.length)) + 2
  const line = ([name, number]: readonly [string, number]) => `${name.padEnd(width)}${String(number).padStart(6)}`
  return [line([title, sum]), ...lines.map(line).map((text) => `  ${text}`)].join('\n')
}
