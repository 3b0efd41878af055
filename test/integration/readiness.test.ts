import { createClient } from '@connectrpc/connect'
import { createGrpcTransport } from '@connectrpc/connect-node'
import { sql } from 'kysely'
import { afterAll, afterEach, beforeAll, expect, test, vi } from 'vitest'
import { startWire } from '../../chaos/wire.ts'
import { Health, HealthCheckResponse_ServingStatus as Status } from '../../gen/health/v1/health_pb.ts'
import { openDatabase } from '../../src/db/database.ts'
import { openReadiness } from '../../src/db/readiness.ts'
import { type App, start, startApp } from '../support/app.ts'
import { linesOf } from '../support/rotation.ts'

const PATIENCE_MS = 20_000

let app: App
beforeAll(async () => {
  app = await startApp()
})
afterEach(() => {
  vi.useRealTimers()
})
afterAll(() => app[Symbol.asyncDispose]())

async function readyz({ server }: Pick<App, 'server'>): Promise<number> {
  const response = await fetch(`http://127.0.0.1:${server.adminPort}/readyz`)
  await response.text()
  return response.status
}

test.for([
  [0, false, true],
  [1_000, false, true],
  [-1_000, false, true],
  [6_000, true, true],
  [-6_000, true, true],
  [60_000, true, false],
  [-60_000, true, false],
] as const)('a clock %i ms ahead is warned of: %s, and ready: %s', async ([aheadMs, isWarnedOf, isReady]) => {
  await using database = openDatabase(app.env.DATABASE_URL ?? '', { size: 1 })
  const skews: number[] = []
  const warnings: boolean[] = []
  const problems: unknown[] = []
  await using readiness = openReadiness(database, () => new Date(Date.now() + aheadMs), {
    onSkew: (skewMs) => skews.push(skewMs),
    onSkewed: (isSkewed) => warnings.push(isSkewed),
    onChange: (problem) => problems.push(problem),
  })
  await vi.waitFor(() => expect(skews).not.toEqual([]), PATIENCE_MS)
  expect(Math.abs(Number(skews[0]) - aheadMs)).toBeLessThan(4_000)
  expect(warnings).toEqual(isWarnedOf ? [true] : [])
  const problem = "the clock is more than 10 s off the database's"
  expect(problems).toEqual(isReady ? [] : [problem])
  if (isReady) await readiness.check()
  else await expect(readiness.check()).rejects.toThrow(problem)
})

test('a replica whose clock is off says so, is not ready, and is so again when the clock is right', async () => {
  const health = createClient(Health, createGrpcTransport({ baseUrl: app.url }))
  expect(await health.check({})).toMatchObject({ status: Status.SERVING })
  // Of the service, as it is in this process. The database has another.
  vi.setSystemTime(Date.now() + 600_000)
  await vi.waitFor(async () => expect(await readyz(app)).toBe(503), PATIENCE_MS)
  expect(await health.check({})).toMatchObject({ status: Status.NOT_SERVING })
  expect(await app.metrics()).toMatch(/^clock_skew_seconds [2-6]\d\d\./m)
  const warning = { level: 'warn', skew_ms: expect.any(Number) }
  expect(linesOf(app, "clock is more than 2 s off the database's")).toMatchObject([warning])
  const problem = "the clock is more than 10 s off the database's"
  expect(linesOf(app, 'not ready')).toMatchObject([{ level: 'warn', problem }])

  vi.useRealTimers()
  await vi.waitFor(async () => expect(await readyz(app)).toBe(200), PATIENCE_MS)
  expect(await health.check({})).toMatchObject({ status: Status.SERVING })
  expect(linesOf(app, "clock agrees with the database's again")).toHaveLength(1)
  expect(linesOf(app, 'ready again')).toHaveLength(1)
})

test('a flood of GET /readyz asks the database once per 500 ms, and takes no connection from callers', async () => {
  const url = new URL(app.env.DATABASE_URL ?? '')
  await using wire = await startWire(Number(url.port))
  const replica = await app.replica({
    DATABASE_URL: Object.assign(url, { port: String(wire.port) }).href,
    DATABASE_POOL_SIZE: '2',
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
  const probes = Array.from({ length: 200 }, () => readyz(replica))
  for (let started = 0; started < 5; started++) await start(replica)
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
