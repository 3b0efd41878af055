import { Code, createClient } from '@connectrpc/connect'
import { createGrpcTransport } from '@connectrpc/connect-node'
import { sql } from 'kysely'
import { NIL } from 'uuid'
import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import {
  AbortReason,
  SignatureService,
  SignatureStatus,
  SignatureStatusSchema,
  type TimelineEvent,
} from '../../gen/bank/signature/v1/signature_pb.ts'
import { type App, failure, start, startApp, startRequest, transaction, typeName, wrongCode } from '../support/app.ts'
import { cutListeners, listeners } from '../support/routing.ts'

const PATIENCE_MS = 10_000
const STARTED = ['1 SIGNATURE_STARTED PENDING', '2 CHALLENGE_STARTED PENDING', '3 CHALLENGE_SENT PENDING']

type Replica = Awaited<ReturnType<App['replica']>>

let app: App
let other: Replica
beforeAll(async () => {
  app = await startApp()
  other = await app.replica()
})
afterAll(() => app[Symbol.asyncDispose]())

test('a watcher is told the whole story as it happens, each event once and in order, until it is signed', async () => {
  const { signatureId, code } = await start(app)
  const watcher = watch(app, signatureId)
  await watcher.hasTold(3)
  expect(watcher.told).toEqual(STARTED)

  await failure(app.client.completeSignature({ signatureId, code: wrongCode(code), transaction: transaction() }))
  await watcher.hasTold(4)
  await app.client.completeSignature({ signatureId, code, transaction: transaction() })
  await watcher.ended

  expect(watcher.told).toEqual([...STARTED, '4 CODE_REJECTED PENDING', '5 SIGNATURE_SIGNED SIGNED'])
  const { signature } = await app.client.getSignature({ signatureId })
  expect(watcher.events).toEqual(signature?.timeline)
})

test('a watch after a position tells only what came after it', async () => {
  const { signatureId } = await start(app)
  const watcher = watch(app, signatureId, { afterPosition: 2 })
  const latest = watch(app, signatureId, { afterPosition: 3 })
  await watcher.hasTold(1)
  await abort(app, signatureId)

  await Promise.all([watcher.ended, latest.ended])
  expect(watcher.told).toEqual([STARTED[2], '4 SIGNATURE_ABORTED ABORTED'])
  expect(latest.told).toEqual(['4 SIGNATURE_ABORTED ABORTED'])
})

test('a watch ends when the tries are used up', async () => {
  const { signatureId, code } = await start(app)
  const watcher = watch(app, signatureId)
  for (const _ of ['first', 'second', 'third']) {
    await failure(app.client.completeSignature({ signatureId, code: wrongCode(code), transaction: transaction() }))
  }

  await watcher.ended
  expect(types(watcher).slice(3)).toEqual(['CODE_REJECTED', 'CODE_REJECTED', 'CODE_REJECTED', 'SIGNATURE_FAILED'])
  expect(watcher.told.at(-1)).toBe('7 SIGNATURE_FAILED FAILED')
})

test('a watch ends by itself when the time is over, though nobody else asks', async () => {
  const { signatureId } = await start(app)
  await expireIn(signatureId, '1.5 seconds')
  const watcher = watch(app, signatureId)
  await watcher.hasTold(3)
  expect(watcher.told).toEqual(STARTED)

  await watcher.ended
  expect(watcher.told).toEqual([...STARTED, '4 SIGNATURE_EXPIRED EXPIRED'])
})

test("a watch ends in time though the process's clock is hours slow", async () => {
  const { signatureId } = await start(app)
  vi.useFakeTimers({ now: Date.now() - 5 * 3_600_000, toFake: ['Date'] })
  try {
    await expireIn(signatureId, '1 second')
    const watcher = watch(app, signatureId)
    await watcher.ended
    expect(watcher.told.at(-1)).toBe('4 SIGNATURE_EXPIRED EXPIRED')
  } finally {
    vi.useRealTimers()
  }
})

test('a signature that has ended is told to its end at once', async () => {
  const { signatureId } = await start(app)
  await abort(app, signatureId)
  const whole = watch(app, signatureId)
  const nothing = watch(app, signatureId, { afterPosition: 4 })
  await Promise.all([whole.ended, nothing.ended])

  expect(types(whole)).toEqual(['SIGNATURE_STARTED', 'CHALLENGE_STARTED', 'CHALLENGE_SENT', 'SIGNATURE_ABORTED'])
  expect(new Set(whole.told.map((line) => line.split(' ')[2]))).toEqual(new Set(['ABORTED']))
  expect(nothing.told).toEqual([])
})

test('a position that the signature does not have is refused, and the last one is named', async () => {
  const { signatureId } = await start(app)
  expect(await failure(watch(app, signatureId, { afterPosition: 4 }).ended)).toMatchObject({
    code: Code.OutOfRange,
    reason: 'POSITION_NOT_FOUND',
    metadata: { last_position: '3' },
  })
})

test('a signature that is unknown, or of another caller, is not found', async () => {
  const { signatureId } = await start(app)
  await sql`UPDATE signature SET caller = 'another' WHERE id = ${signatureId}`.execute(app.db)
  for (const id of [NIL, signatureId]) {
    expect(await failure(watch(app, id).ended)).toMatchObject({ code: Code.NotFound, reason: 'SIGNATURE_NOT_FOUND' })
  }
})

test('wrong fields are told all at once', async () => {
  expect(await failure(watch(app, 'none', { afterPosition: -1 }).ended)).toMatchObject({
    code: Code.InvalidArgument,
    reason: 'INVALID_FIELD',
    fields: ['signature_id', 'after_position'],
  })
})

test('what another replica changes is seen', async () => {
  const { signatureId } = await start(app)
  const watcher = watch(app, signatureId)
  await watcher.hasTold(3)
  await abort(other, signatureId)
  await watcher.ended
  expect(watcher.told).toEqual([...STARTED, '4 SIGNATURE_ABORTED ABORTED'])
})

test('the status is never older than the event it comes with', async () => {
  const { signatureId } = await start(app)
  const watcher = watch(app, signatureId)
  await watcher.hasTold(3)

  await app.db.transaction().execute(async (trx) => {
    await sql`LOCK TABLE timeline IN ACCESS EXCLUSIVE MODE`.execute(trx)
    await sql`SELECT pg_notify('signature', ${signatureId})`.execute(app.db)
    await vi.waitFor(async () => {
      const { rows } = await sql`SELECT FROM pg_locks WHERE relation = 'timeline'::regclass AND NOT granted`.execute(
        trx,
      )
      expect(rows).toHaveLength(1)
    }, PATIENCE_MS)
    await sql`UPDATE signature SET status = 'ABORTED', completed_at = now() WHERE id = ${signatureId}`.execute(trx)
    await sql`
      INSERT INTO timeline (signature_id, position, type, details) VALUES (${signatureId}, 4, 'SIGNATURE_ABORTED', '{}')
    `.execute(trx)
  })
  await watcher.ended
  expect(watcher.told).toEqual([...STARTED, '4 SIGNATURE_ABORTED ABORTED'])
})

test('nothing is missed between the first look and the wait', { timeout: 60_000 }, async () => {
  for (let round = 0; round < 20; round++) {
    await Promise.all(
      Array.from({ length: 10 }, async (_, n) => {
        const { signatureId } = await start(app)
        const watcher = watch(app, signatureId)
        // Early, late and in between: while the stream opens, and as soon as something was told.
        if (n % 3 > 0) await watcher.hasTold(n % 3)
        await abort(n % 2 ? app : other, signatureId)
        await watcher.ended
        expect(positions(watcher)).toEqual([1, 2, 3, 4])
        expect(watcher.told.at(-1)).toBe('4 SIGNATURE_ABORTED ABORTED')
      }),
    )
  }
})

test('a process has one listening connection, however many watch, and misses nothing when it is cut', async () => {
  const { signatureId } = await start(app)
  const watchers = Array.from({ length: 20 }, () => watch(app, signatureId))
  await Promise.all(watchers.map((watcher) => watcher.hasTold(3)))
  const before = await listeners(app)
  expect(before).toHaveLength(2)

  await cutListeners(app)
  expect(await listeners(app)).not.toEqual(expect.arrayContaining(before))
  await abort(other, signatureId)
  await Promise.all(watchers.map(({ ended }) => ended))

  for (const { told } of watchers) expect(told).toEqual([...STARTED, '4 SIGNATURE_ABORTED ABORTED'])
  await vi.waitFor(async () => expect(await listeners(app)).toHaveLength(2), PATIENCE_MS)
})

test("the caller's deadline ends a watch", async () => {
  const { signatureId } = await start(app)
  // Only the server knows of it: a client with a timer of its own may cancel the call first.
  const watcher = watch(app, signatureId, { headers: { 'grpc-timeout': '1500m' } })
  expect(await failure(watcher.ended)).toMatchObject({ code: Code.DeadlineExceeded })
  expect(watcher.told).toEqual(STARTED)
  await vi.waitFor(() => expect(codesLogged(app, signatureId)).toEqual(['DEADLINE_EXCEEDED']), PATIENCE_MS)
})

test('a watch that is cancelled is over in the service too', async () => {
  const { signatureId } = await start(app)
  const watcher = watch(app, signatureId)
  await watcher.hasTold(3)
  expect(codesLogged(app, signatureId)).toEqual([])

  watcher.stop()
  expect(await failure(watcher.ended)).toMatchObject({ code: Code.Canceled })
  await vi.waitFor(() => expect(codesLogged(app, signatureId)).toEqual(['CANCELLED']), PATIENCE_MS)
})

test('a process that drains ends its watches at once, and they go on elsewhere without a gap', async () => {
  const leaving = await app.replica()
  const { signatureId } = await start(app)
  const watcher = watch(leaving, signatureId)
  await watcher.hasTold(3)

  const stoppedMs = performance.now()
  const stopped = leaving.server[Symbol.asyncDispose]()
  expect(await failure(watcher.ended)).toMatchObject({ code: Code.Unavailable, reason: 'SHUTTING_DOWN' })
  await abort(app, signatureId)
  await stopped
  expect(performance.now() - stoppedMs).toBeLessThan(10_000)

  const resumed = watch(other, signatureId, { afterPosition: watcher.events.at(-1)?.position ?? 0 })
  await resumed.ended
  expect([...watcher.told, ...resumed.told]).toEqual([...STARTED, '4 SIGNATURE_ABORTED ABORTED'])
})

test('a watch goes on while a process that drains still waits for calls', async () => {
  const leaving = await app.replica()
  const { signatureId } = await start(app)
  const watcher = watch(leaving, signatureId)
  await watcher.hasTold(3)
  app.sandbox.failNext({ latencyMs: 1_000 })
  const called = app.sandbox.nextCall()
  const slow = leaving.client.startSignature(startRequest())
  await called

  const stopped = leaving.server[Symbol.asyncDispose]()
  await abort(app, signatureId)
  await watcher.ended
  expect(watcher.told.at(-1)).toBe('4 SIGNATURE_ABORTED ABORTED')
  expect((await slow).signature?.status).toBe(SignatureStatus.PENDING)
  await stopped
})

/** Watches over a connection of its own and keeps what is told. `told` has a line for each event. */
function watch(
  { url }: Pick<App, 'url'>,
  signatureId: string,
  { afterPosition = 0, headers = {} }: { afterPosition?: number; headers?: Record<string, string> } = {},
) {
  const client = createClient(SignatureService, createGrpcTransport({ baseUrl: url }))
  const stop = new AbortController()
  const options = { signal: stop.signal, headers }
  const events: (TimelineEvent | undefined)[] = []
  const told: string[] = []
  const ended = (async () => {
    for await (const { event, status } of client.watchSignature({ signatureId, afterPosition }, options)) {
      events.push(event)
      told.push(`${event?.position} ${typeName(event?.type)} ${SignatureStatusSchema.value[status]?.localName}`)
    }
  })()
  ended.catch(() => {})
  const hasTold = (count: number) => vi.waitFor(() => expect(told.length).toBeGreaterThanOrEqual(count), PATIENCE_MS)
  return { events, told, ended, hasTold, stop: () => stop.abort() }
}

function types({ events }: ReturnType<typeof watch>) {
  return events.map((event) => typeName(event?.type))
}

function positions({ events }: ReturnType<typeof watch>) {
  return events.map((event) => event?.position)
}

async function abort({ client }: Pick<App, 'client'>, signatureId: string): Promise<void> {
  await client.abortSignature({ signatureId, reason: AbortReason.OPERATOR })
}

/** How the watches of a signature ended, as logged. */
function codesLogged({ logs }: Pick<App, 'logs'>, signatureId: string) {
  const lines = logs.filter(({ method, signature_id }) => /Watch/.test(String(method)) && signature_id === signatureId)
  return lines.map(({ code }) => code)
}

/** Moves the end of a signature's time by the database's clock. */
async function expireIn(signatureId: string, interval: string): Promise<void> {
  await sql`
    WITH c AS (UPDATE challenge SET expires_at = clock_timestamp() + ${interval}::interval WHERE signature_id = ${signatureId})
    UPDATE signature SET expires_at = clock_timestamp() + ${interval}::interval WHERE id = ${signatureId}
  `.execute(app.db)
}
