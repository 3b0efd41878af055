import { parseArgs } from 'node:util'
import { reportText } from './report.ts'
import { runChaos } from './run.ts'

const { values } = parseArgs({
  options: {
    kills: { type: 'string', default: '40' },
    faults: { type: 'string', default: '150' },
    seconds: { type: 'string', default: '3600' },
    seed: { type: 'string', default: String(Date.now() % 1_000_000) },
    beside: { type: 'string' },
  },
})
const stop = new AbortController()
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => stop.abort())

const seed = Number(values.seed)
process.stdout.write(`seed ${seed}\n`)
const report = await runChaos(
  {
    kills: Number(values.kills),
    faults: Number(values.faults),
    seconds: Number(values.seconds),
    seed,
    beside: values.beside,
    onProgress: (line) => void process.stderr.write(process.stderr.isTTY ? `\r\x1b[K${line}` : `${line}\n`),
  },
  stop.signal,
)
process.stdout.write(`\n${reportText(report)}\n`)
// Customers who still wait for an answer when a signal comes are left alone.
process.exit(report.violations.length > 0 || stop.signal.aborted ? 1 : 0)
