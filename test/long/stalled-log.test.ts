import { randomUUID } from 'node:crypto'
import { Code } from '@connectrpc/connect'
import { afterAll, expect, test } from 'vitest'
import { failure } from '../support/app.ts'
import { connect, killLeftovers, ownDatabase, type ServiceProcess, serve } from '../support/service-process.ts'

afterAll(killLeftovers)

const ROUNDS = 7
const CALLS = 80
const AT_ONCE = 10
/** A megabyte of buffer, the pipe, and some. */
const FILLING_CALLS = 8_000
const FILLING_AT_ONCE = 50

type Client = ReturnType<typeof connect>

/** Milliseconds that calls took which each leave a line in the log. */
async function latencies(client: Client, calls: number): Promise<number[]> {
  const taken: number[] = []
  let left = calls
  const callSome = async () => {
    while (left-- > 0) {
      const startedMs = performance.now()
      expect(await failure(client.getSignature({ signatureId: randomUUID() }))).toMatchObject({ code: Code.NotFound })
      taken.push(performance.now() - startedMs)
    }
  }
  await Promise.all(Array.from({ length: AT_ONCE }, callSome))
  return taken.sort((a, b) => a - b)
}

/** Calls that are refused at once, each with its line. */
async function fillLog(client: Client): Promise<void> {
  let left = FILLING_CALLS
  const callSome = async () => {
    while (left-- > 0) await failure(client.getSignature({ signatureId: '' }))
  }
  await Promise.all(Array.from({ length: FILLING_AT_ONCE }, callSome))
}

function at(sorted: number[], share: number): number {
  return sorted[Math.floor(sorted.length * share)] ?? Number.NaN
}

async function metric({ admin }: ServiceProcess, name: string): Promise<number> {
  const page = await (await fetch(`${admin}/metrics`)).text()
  return Number(new RegExp(`^${name} (\\S+)`, 'm').exec(page)?.[1])
}

test('a log reader that stands still costs callers nothing: lines are dropped and counted, and the process stops in time', async () => {
  const env = await ownDatabase()
  await using heard = await serve(env)
  await using stalled = await serve(env)
  stalled.child.stdout.pause()
  const clients = { heard: connect(heard.grpcUrl), stalled: connect(stalled.grpcUrl) }
  await latencies(clients.heard, CALLS)
  await latencies(clients.stalled, CALLS)
  await fillLog(clients.stalled)
  const droppedBefore = await metric(stalled, 'log_lines_dropped_total')
  expect(droppedBefore).toBeGreaterThan(0)
  const residentBefore = await metric(stalled, 'process_resident_memory_bytes')

  // One after the other, round by round, so that whatever else the machine does falls on both.
  const ratios: { median: number; p95: number }[] = []
  for (let round = 0; round < ROUNDS; round += 1) {
    const { heard, stalled } = {
      heard: await latencies(clients.heard, CALLS),
      stalled: await latencies(clients.stalled, CALLS),
    }
    ratios.push({ median: at(stalled, 0.5) / at(heard, 0.5), p95: at(stalled, 0.95) / at(heard, 0.95) })
  }
  const middle = (of: 'median' | 'p95') =>
    at(
      ratios.map((ratio) => ratio[of]).sort((a, b) => a - b),
      0.5,
    )
  expect(middle('median')).toBeLessThan(2)
  expect(middle('p95')).toBeLessThan(2)
  expect((await metric(stalled, 'log_lines_dropped_total')) - droppedBefore).toBe(ROUNDS * CALLS)
  expect((await metric(stalled, 'process_resident_memory_bytes')) - residentBefore).toBeLessThan(100 * 1024 ** 2)
  expect(await metric(heard, 'log_lines_dropped_total')).toBe(0)

  const signalledMs = performance.now()
  stalled.child.kill('SIGTERM')
  const [code] = await new Promise<unknown[]>((resolve) => stalled.child.once('exit', (...args) => resolve(args)))
  expect(code).toBe(0)
  expect(performance.now() - signalledMs).toBeLessThan(10_000)
}, 90_000)
