import { Code, createClient } from '@connectrpc/connect'
import { createGrpcTransport } from '@connectrpc/connect-node'
import { sql } from 'kysely'
import { afterAll, beforeAll, beforeEach, expect, test, vi } from 'vitest'
import { PassReason } from '../../gen/bank/signature/v1/signature_pb.ts'
import { Health } from '../../gen/health/v1/health_pb.ts'
import { type App, failure, start, startApp, startRequest } from '../support/app.ts'
import { startHeldVendor } from '../support/held-vendor.ts'
import { publish, route } from '../support/routing.ts'

let app: App
beforeAll(async () => {
  app = await startApp()
})
beforeEach(() => app.sandbox.clear())
afterAll(() => app[Symbol.asyncDispose]())

const overloaded = { code: Code.Unavailable, reason: 'OVERLOADED', retryDelayMs: 1_000 }

/** What a call ended with, and how long it took. */
async function rows(table: 'signature' | 'idempotency_key' | 'attempt'): Promise<number> {
  const { rows } = await sql<{ count: number }>`SELECT count(*)::int AS count FROM ${sql.table(table)}`.execute(app.db)
  return rows[0]?.count ?? 0
}

test('of fifty starts at once a provider gets as many as it may, the others are told before one of them ends and leave nothing', async () => {
  await using vendor = await startHeldVendor()
  await using replica = await app.replica({ TWILIO_API_URL: vendor.url, DELIVERIES_IN_FLIGHT: '5' })
  const { signatureId } = await start(app)
  const before = await rows('signature')

  const answers = Promise.all(Array.from({ length: 50 }, () => failure(replica.client.startSignature(startRequest()))))
  const held = [await vendor.next(), await vendor.next(), await vendor.next(), await vendor.next(), await vendor.next()]

  expect(await failure(replica.client.startSignature(startRequest()))).toMatchObject(overloaded)
  expect(vendor.calls).toBe(5)
  expect(await rows('signature')).toBe(before + 5)
  expect(await rows('idempotency_key')).toBe(before + 5)
  expect(await replica.metrics()).toContain('challenge_deliveries_in_flight{provider="twilio-sms"} 5')
  // Who reads is not kept waiting by a provider that hangs.
  await Promise.all(Array.from({ length: 40 }, () => replica.client.getSignature({ signatureId })))

  for (const call of held) call.answer(400)
  const reasons = await answers
  expect(reasons.filter(({ reason }) => reason === 'OVERLOADED')).toHaveLength(45)
  expect(reasons.filter(({ reason }) => reason === 'PROVIDER_UNAVAILABLE')).toHaveLength(5)
  // What has ended makes room.
  const next = failure(replica.client.startSignature(startRequest()))
  ;(await vendor.next()).answer(400)
  expect(await next).toMatchObject({ reason: 'PROVIDER_UNAVAILABLE' })
  expect(await replica.metrics()).toContain('challenge_deliveries_in_flight{provider="twilio-sms"} 0')
})

test('a provider that has as many deliveries as it may is passed over for the next', async () => {
  await using own = await startApp({ DELIVERIES_IN_FLIGHT: '1' })
  await publish(own, [route(1, { SMS: ['twilio-sms', 'vonage-sms'] })])
  own.sandbox.failNext({ provider: 'twilio-sms', hang: true })
  const called = own.sandbox.nextCall()
  const caller = new AbortController()
  const hanging = failure(own.client.startSignature(startRequest(), { signal: caller.signal }))
  await called

  const { challenge } = await own.client.startSignature(startRequest())
  expect(challenge).toMatchObject({
    provider: 'vonage-sms',
    passedOver: [expect.objectContaining({ provider: 'twilio-sms', reason: PassReason.OVERLOADED })],
  })
  caller.abort()
  await hanging
})

test('a delivery that goes on to another provider counts with that one', async () => {
  await using own = await startApp({ DELIVERIES_IN_FLIGHT: '1' })
  await publish(own, [route(1, { SMS: ['twilio-sms', 'vonage-sms'] })])
  own.sandbox.failNext({ provider: 'twilio-sms', status: 401 }, { provider: 'vonage-sms', hang: true })
  const caller = new AbortController()
  const hanging = failure(own.client.startSignature(startRequest(), { signal: caller.signal }))
  await vi.waitFor(() =>
    expect(own.sandbox.calls.map(({ provider }) => provider)).toEqual(['twilio-sms', 'vonage-sms']),
  )

  const metrics = await own.metrics()
  expect(metrics).toContain('challenge_deliveries_in_flight{provider="twilio-sms"} 0')
  expect(metrics).toContain('challenge_deliveries_in_flight{provider="vonage-sms"} 1')
  const { challenge } = await own.client.startSignature(startRequest())
  expect(challenge).toMatchObject({ provider: 'twilio-sms', passedOver: [] })
  caller.abort()
  await hanging
})

/** Keeps the one connection of a replica busy, and lets so many callers wait for it. */
async function startExhausted(waiting: number) {
  const replica = await app.replica({ DATABASE_POOL_SIZE: '1' })
  const { signatureId } = await start(app)
  const release = Promise.withResolvers<void>()
  const held = Promise.withResolvers<void>()
  const holder = app.db.transaction().execute(async (trx) => {
    await sql`LOCK TABLE signature IN ACCESS EXCLUSIVE MODE`.execute(trx)
    held.resolve()
    await release.promise
  })
  await held.promise
  const waiters = Array.from({ length: waiting }, () => replica.client.getSignature({ signatureId }))
  const answers = Promise.allSettled(waiters)
  // The replica itself looks at the database now and then, and waits as callers do.
  const line = /^database_pool_connections\{state="waiting"\} (\d+)$/m
  await vi.waitFor(async () =>
    expect(Number(line.exec(await replica.metrics())?.[1])).toBeGreaterThanOrEqual(Math.min(waiting - 1, 10)),
  )
  return {
    replica,
    signatureId,
    answers,
    async release() {
      release.resolve()
      await holder
    },
    async [Symbol.asyncDispose]() {
      release.resolve()
      await holder
      await answers
      await replica.server[Symbol.asyncDispose]()
    },
  }
}

test('with ten callers waiting for each connection the next is told at once, and probes are answered', async () => {
  await using exhausted = await startExhausted(15)
  const { replica, signatureId } = exhausted
  const before = app.sandbox.calls.length

  for (const call of [
    () => replica.client.startSignature(startRequest()),
    () => replica.client.getSignature({ signatureId }),
  ]) {
    // Who waits for a connection is told so after five seconds.
    const startedMs = performance.now()
    expect(await failure(call())).toMatchObject(overloaded)
    expect(performance.now() - startedMs).toBeLessThan(4_000)
  }
  const health = createClient(Health, createGrpcTransport({ baseUrl: replica.url }))
  await health.check({})
  expect((await fetch(`http://127.0.0.1:${replica.server.adminPort}/livez`)).status).toBe(200)
  expect(app.sandbox.calls).toHaveLength(before)

  await exhausted.release()
  const served = (await exhausted.answers).filter(({ status }) => status === 'fulfilled')
  expect(served.length).toBeGreaterThan(5)
  expect(served.length).toBeLessThan(15)
  await replica.client.startSignature(startRequest())
})

test('who has waited for a connection in vain is told OVERLOADED, and all is well afterwards', async () => {
  await using exhausted = await startExhausted(5)
  const { replica, signatureId } = exhausted
  const reasons = await Promise.all(
    (await exhausted.answers).map(
      async (answer) => answer.status === 'rejected' && (await failure(Promise.reject(answer.reason))).reason,
    ),
  )
  // Who has the connection waits for the lock, in vain as well, unless that is the replica itself.
  expect(new Set(reasons)).toContain('OVERLOADED')
  expect(['OVERLOADED', 'STORAGE_UNAVAILABLE']).toEqual(expect.arrayContaining(reasons))
  await exhausted.release()
  expect((await replica.client.getSignature({ signatureId })).signature?.id).toBe(signatureId)
})
