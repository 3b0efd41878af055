import { createClient } from '@connectrpc/connect'
import { createGrpcTransport } from '@connectrpc/connect-node'
import { sql } from 'kysely'
import { afterAll, afterEach, beforeAll, expect, test, vi } from 'vitest'
import { startWire } from '../../chaos/wire.ts'
import { Health, HealthCheckResponse_ServingStatus as Status } from '../../gen/health/v1/health_pb.ts'
import { type App, start, startApp } from '../support/app.ts'
import { linesOf } from '../support/rotation.ts'

const PATIENCE_MS = 10_000

let app: App
beforeAll(async () => {
  app = await startApp()
})
afterEach(() => {
  vi.useRealTimers()
})
afterAll(() => app[Symbol.asyncDispose]())

async function readyz({ server }: Pick<App, 'server'>): Promise<number> {
  const response = await fetch(`http://127.0.0.1:${server.httpPort}/readyz`)
  await response.text()
  return response.status
}

/** Sets the clock of this process, the service's own, that far ahead of the database's. There it stands still. */
function setClockAhead(ms: number): void {
  vi.useRealTimers()
  if (ms !== 0) vi.setSystemTime(Date.now() + ms)
}

async function skewSeconds(): Promise<number> {
  const [, seconds] = /^clock_skew_seconds (\S+)$/m.exec(await app.metrics()) ?? []
  return Number(seconds)
}

test("a clock that is off the database's shows, is warned of from 2 s on, and from 10 s on the replica is not ready", async () => {
  const health = createClient(Health, createGrpcTransport({ baseUrl: app.url }))
  const warnings = () => linesOf(app, "clock is more than 2 s off the database's")
  await vi.waitFor(async () => expect(Math.abs(await skewSeconds())).toBeLessThan(1), PATIENCE_MS)
  expect(warnings()).toEqual([])

  setClockAhead(-6_000)
  await vi.waitFor(async () => expect(await skewSeconds()).toBeLessThan(-4), PATIENCE_MS)
  expect(warnings()).toMatchObject([{ level: 'warn', skew_ms: expect.any(Number) }])
  expect(await readyz(app)).toBe(200)

  setClockAhead(60_000)
  await vi.waitFor(async () => expect(await readyz(app)).toBe(503), PATIENCE_MS)
  expect(await skewSeconds()).toBeGreaterThan(10)
  expect(warnings()).toHaveLength(1)
  expect(linesOf(app, 'not ready')).toMatchObject([
    { level: 'warn', problem: "the clock is more than 10 s off the database's" },
  ])
  expect(await health.check({})).toMatchObject({ status: Status.NOT_SERVING })

  setClockAhead(0)
  await vi.waitFor(async () => expect(await readyz(app)).toBe(200), PATIENCE_MS)
  expect(linesOf(app, "clock agrees with the database's again")).toHaveLength(1)
  expect(linesOf(app, 'ready again')).toHaveLength(1)
  expect(await health.check({})).toMatchObject({ status: Status.SERVING })
})

test('a flood of GET /readyz asks the database once per 500 ms, and takes no connection from callers', async () => {
  const url = new URL(app.env.DATABASE_URL ?? '')
  await using wire = await startWire(Number(url.port))
  const replica = await app.replica({
    DATABASE_URL: Object.assign(url, { port: String(wire.port) }).href,
    DATABASE_POOL_SIZE: '1',
  })
  await vi.waitFor(async () => expect(await readyz(replica)).toBe(200), PATIENCE_MS)
  let asked = 0
  wire.traps.add({
    sees(said) {
      if (said.includes('transaction_read_only') && said.includes('clock_timestamp')) asked += 1
      return false
    },
    holds: 'request',
    fire() {},
  })
  const beganMs = performance.now()
  const probes = Array.from({ length: 300 }, () => readyz(replica))
  await Promise.all(Array.from({ length: 5 }, () => start(replica)))
  expect(new Set(await Promise.all(probes))).toEqual(new Set([200]))
  expect(asked).toBeLessThanOrEqual(1 + (performance.now() - beganMs) / 500)
})

test('a replica whose callers hold every connection is ready', async () => {
  const replica = await app.replica({ DATABASE_POOL_SIZE: '1' })
  const { signatureId } = await start(replica)
  await app.db.transaction().execute(async (trx) => {
    await sql`SELECT FROM signature WHERE id = ${signatureId} FOR UPDATE`.execute(trx)
    const waiting = replica.client.abortSignature({ signatureId, reason: 1 }).catch(() => {})
    await vi.waitFor(async () =>
      expect(await replica.metrics()).toMatch(/^database_pool_connections\{state="idle"\} 0$/m),
    )
    expect(await readyz(replica)).toBe(200)
    void waiting
  })
})

test('a database that is closed to writers makes replicas not ready, until it is open again', async () => {
  await using own = await startApp()
  const database = sql.id(new URL(own.env.DATABASE_URL ?? '').pathname.slice(1))
  const close = async (word: 'on' | 'off') => {
    await sql`ALTER DATABASE ${database} SET default_transaction_read_only = ${sql.lit(word)}`.execute(app.db)
    await sql`
      SELECT pg_terminate_backend(pid) FROM pg_stat_activity
      WHERE datname = ${new URL(own.env.DATABASE_URL ?? '').pathname.slice(1)}
    `.execute(app.db)
  }
  await close('on')
  await vi.waitFor(async () => expect(await readyz(own)).toBe(503), PATIENCE_MS)
  await close('off')
  await vi.waitFor(async () => expect(await readyz(own)).toBe(200), PATIENCE_MS)
})
