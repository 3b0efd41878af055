import { once } from 'node:events'
import { readFileSync } from 'node:fs'

// Loaded into a replica before anything else: shifts its Date by the milliseconds that CHAOS_CLOCK_FILE holds, which is
// read at the start and at each SIGUSR2. Timers go on as they were, as they do when a machine's clock is set.
const RealDate = Date
const file = process.env.CHAOS_CLOCK_FILE ?? ''
let offsetMs = 0

function read(): void {
  offsetMs = Number(readFileSync(file, 'utf8'))
}

globalThis.Date = new Proxy(RealDate, {
  construct: (target, args, newTarget) =>
    Reflect.construct(target, args.length === 0 ? [RealDate.now() + offsetMs] : args, newTarget),
  get: (target, name) => (name === 'now' ? () => RealDate.now() + offsetMs : Reflect.get(target, name)),
})

process.on('SIGUSR2', read)

// A spare waits here, loaded, until it is told to go on.
await import(process.env.CHAOS_WARM_UP ?? '')
await once(process.stdin, 'data')
read()
