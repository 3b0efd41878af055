import { randomUUID } from 'node:crypto'
import { sql } from 'kysely'
import { afterAll, beforeAll, beforeEach, expect, test, vi } from 'vitest'
import {
  ChallengeStatus,
  DeliveryStatus,
  SignatureStatus,
  TimelineEventType,
} from '../../gen/bank/signature/v1/signature_pb.ts'
import type { Db } from '../../src/db/database.ts'
import { expireSignatures, takeLostDeliveries } from '../../src/db/sweeps.ts'
import { type App, codeIn, failure, row, start, startApp, startRequest, timeline, transaction } from '../support/app.ts'
import { attempts, challengeOf } from '../support/delivery-outcome.ts'
import { startHeldVendor } from '../support/held-vendor.ts'

let app: App
beforeAll(async () => {
  app = await startApp()
})
beforeEach(() => app.sandbox.clear())
afterAll(() => app[Symbol.asyncDispose]())

/** Sweepers look every few seconds. */
const WITHIN = { timeout: 10_000 }

/** A start whose call to the provider hangs, as if its process had died there. */
async function startHanging() {
  const request = startRequest()
  const caller = new AbortController()
  app.sandbox.failNext({ hang: true })
  const called = app.sandbox.nextCall()
  const dying = app.client.startSignature(request, { signal: caller.signal }).catch(() => {})
  const code = codeIn((await called).form.get('Body') ?? '')
  const { id: challengeId, signature_id: signatureId } = await challengeOf(app, request.idempotencyKey)
  return {
    request,
    code,
    challengeId,
    signatureId,
    async [Symbol.asyncDispose]() {
      caller.abort()
      await dying
    },
  }
}

async function endLease({ db }: Pick<App, 'db'>, challengeId: string): Promise<void> {
  await sql`UPDATE challenge SET lease_expires_at = clock_timestamp() WHERE id = ${challengeId}`.execute(db)
}

test('a call to a provider is on record before it is made', async () => {
  await using started = await startHanging()
  expect(await attempts(app, started.challengeId)).toEqual([
    expect.objectContaining({ number: 1, outcome: null, provider_error_code: null, ended_at: null }),
  ])
})

test('a delivery whose process died is found, unknown from then on, can be signed, and is never sent again', async () => {
  await using started = await startHanging()
  const { request, code, challengeId, signatureId } = started
  await endLease(app, challengeId)

  await expect
    .poll(() => row(app, 'challenge', challengeId), WITHIN)
    .toMatchObject({ status: 'PENDING', delivery_status: 'UNKNOWN' })
  const { signature } = await app.client.getSignature({ signatureId })
  expect(signature?.timeline.at(-1)).toMatchObject({
    type: TimelineEventType.CHALLENGE_OUTCOME_UNKNOWN,
    challengeId,
    details: { provider: 'twilio-sms', attempts: '1', reason: 'LEASE_EXPIRED' },
  })
  await expect.poll(() => app.metrics(), WITHIN).toContain('challenge_deliveries_lost_total{provider="twilio-sms"} 1')
  expect(app.logs).toContainEqual(
    expect.objectContaining({ level: 'warn', challenge_id: challengeId, msg: 'lease expired, outcome unknown' }),
  )
  const repeated = await app.client.startSignature(request)
  expect(repeated.challenge).toMatchObject({
    id: challengeId,
    status: ChallengeStatus.PENDING,
    deliveryStatus: DeliveryStatus.UNKNOWN,
  })
  const completed = await app.client.completeSignature({ signatureId, code, transaction: transaction() })
  expect(completed.signature?.status).toBe(SignatureStatus.SIGNED)
  expect(app.sandbox.calls).toHaveLength(1)
})

test('a process that was taken for dead makes no further call, and what it learnt is still recorded', async () => {
  await using vendor = await startHeldVendor()
  await using replica = await app.replica({ TWILIO_API_URL: vendor.url })
  const request = startRequest()
  const answer = replica.client.startSignature(request)
  const call = await vendor.next()
  const { id: challengeId } = await challengeOf(app, request.idempotencyKey)
  await endLease(app, challengeId)
  await expect.poll(() => row(app, 'challenge', challengeId), WITHIN).toMatchObject({ delivery_status: 'UNKNOWN' })

  call.answer(503)

  expect(await failure(answer)).toMatchObject({ reason: 'PROVIDER_UNAVAILABLE' })
  expect(vendor.calls).toBe(1)
  expect(await attempts(app, challengeId)).toEqual([
    expect.objectContaining({ number: 1, outcome: 'transient', provider_error_code: 'HTTP_503' }),
  ])
  expect(await row(app, 'challenge', challengeId)).toMatchObject({ status: 'FAILED', lease_expires_at: null })
})

test('a challenge that is aborted while a retry waits is not called for again', async () => {
  await using replica = await app.replica({ DELIVERY_BACKOFF_MS: '500' })
  app.sandbox.failNext({ status: 503 })
  const request = startRequest()
  const called = app.sandbox.nextCall()
  const answer = replica.client.startSignature(request).catch(() => {})
  await called
  const { signature_id: signatureId, id: challengeId } = await challengeOf(app, request.idempotencyKey)
  await app.client.abortSignature({ signatureId, reason: 1 })
  await answer
  expect(app.sandbox.calls).toHaveLength(1)
  expect(await attempts(app, challengeId)).toHaveLength(1)
})

test('a signature whose time is over is closed though nobody asks for it', async () => {
  const { signatureId, challengeId } = await start(app)
  await endTime(app.db, signatureId)
  await expect.poll(() => row(app, 'signature', signatureId), WITHIN).toMatchObject({ status: 'EXPIRED' })
  expect(await row(app, 'challenge', challengeId)).toMatchObject({ status: 'EXPIRED', delivery_status: 'ACCEPTED' })
  expect((await timeline(app, signatureId)).at(-1)).toBe('SIGNATURE_EXPIRED')
  await expect.poll(() => app.metrics(), WITHIN).toContain('signatures_total{status="EXPIRED"} 1')
})

async function endTime(db: Db, signatureId: string): Promise<void> {
  await sql`UPDATE signature SET expires_at = clock_timestamp() WHERE id = ${signatureId}`.execute(db)
  await sql`UPDATE challenge SET expires_at = clock_timestamp() WHERE signature_id = ${signatureId}`.execute(db)
}

/** A database with so many signatures, PENDING and never delivered, and nobody who sweeps it. */
async function startUnswept(count: number) {
  const own = await startApp()
  const { signatureId } = await start(own)
  await own.server[Symbol.asyncDispose]()
  const copies = Array.from({ length: count }, () => ({ signature: randomUUID(), challenge: randomUUID() }))
  const copy = async (table: string, changes: (copied: (typeof copies)[number]) => object, where: string) => {
    for (const copied of copies) {
      await sql`
        INSERT INTO ${sql.table(table)}
        SELECT (jsonb_populate_record(original, ${JSON.stringify(changes(copied))}::jsonb)).*
        FROM ${sql.table(table)} original WHERE ${sql.ref(where)} = ${signatureId}
      `.execute(own.db)
    }
  }
  await copy('signature', ({ signature }) => ({ id: signature }), 'id')
  const undelivered = { status: 'PENDING', delivery_status: null, lease_expires_at: new Date() }
  await copy('challenge', (c) => ({ id: c.challenge, signature_id: c.signature, ...undelivered }), 'signature_id')
  return { own, copies, [Symbol.asyncDispose]: () => own[Symbol.asyncDispose]() }
}

async function eventsOf(db: Db, type: string): Promise<string[]> {
  const { rows } = await sql<{ id: string }>`SELECT signature_id AS id FROM timeline WHERE type = ${type}`.execute(db)
  return rows.map(({ id }) => id).toSorted()
}

/** Sweeps until nothing is left. */
async function all<T>(sweep: () => Promise<T[]>): Promise<T[]> {
  const taken = await sweep()
  return taken.length === 0 ? [] : [...taken, ...(await all(sweep))]
}

test('eight sweepers at once take each lost delivery and each signature that is due exactly once', async () => {
  await using unswept = await startUnswept(450)
  const { own, copies } = unswept
  const { db } = own
  const ids = copies.map(({ signature }) => signature).toSorted()

  const lost = await Promise.all(Array.from({ length: 8 }, () => all(() => takeLostDeliveries(db))))
  expect(
    lost
      .flat()
      .map(({ challengeId }) => challengeId)
      .toSorted(),
  ).toEqual(copies.map(({ challenge }) => challenge).toSorted())
  expect(await eventsOf(db, 'CHALLENGE_OUTCOME_UNKNOWN')).toEqual(ids)
  expect(lost.filter((taken) => taken.length > 0).length).toBeGreaterThan(1)

  await sql`UPDATE signature SET expires_at = clock_timestamp() WHERE id IN (${sql.join(ids)})`.execute(db)
  const sweep = async () => Array(await expireSignatures(db)).fill(1)
  const expired = await Promise.all(Array.from({ length: 8 }, () => all(sweep)))
  expect(expired.flat()).toHaveLength(450)
  expect(await eventsOf(db, 'SIGNATURE_EXPIRED')).toEqual(ids)
})

test('a sweep passes by what someone else is working on, and comes back for it', async () => {
  await using unswept = await startUnswept(3)
  const { own, copies } = unswept
  const [busy] = copies
  await own.db.transaction().execute(async (trx) => {
    await sql`SELECT FROM signature WHERE id = ${busy?.signature} FOR UPDATE`.execute(trx)
    expect(await takeLostDeliveries(own.db)).toHaveLength(2)
  })
  expect(await takeLostDeliveries(own.db)).toMatchObject([{ challengeId: busy?.challenge, provider: 'twilio-sms' }])
})

test('an idempotency key is forgotten after a day, and then stands for another signature', async () => {
  const request = startRequest()
  const young = startRequest()
  const { signature } = await app.client.startSignature(request)
  await app.client.startSignature(young)
  const age = (key: string | undefined, hours: number) =>
    sql`
      UPDATE idempotency_key SET created_at = clock_timestamp() - ${hours} * interval '1 hour' WHERE key = ${key}
    `.execute(app.db)
  await age(young.idempotencyKey, 23.9)
  await age(request.idempotencyKey, 24.1)
  const keys = async () => {
    const rows = await app.db.selectFrom('idempotency_key').select('key').execute()
    return rows.map(({ key }) => key)
  }
  await expect.poll(keys, WITHIN).not.toContain(request.idempotencyKey)
  expect(await keys()).toContain(young.idempotencyKey)
  await expect.poll(() => app.metrics(), WITHIN).toMatch(/database_rows_removed_total\{table="idempotency_key"\} [1-9]/)

  const again = await app.client.startSignature(request)
  expect(again.signature?.id).not.toBe(signature?.id)
})

test('finished signatures are kept for ever, and with RETENTION_DAYS so long', async () => {
  await using own = await startApp()
  const abort = (signatureId: string) => own.client.abortSignature({ signatureId, reason: 1 })
  const [old, young, pending] = [await start(own), await start(own), await start(own)]
  for (const { signatureId } of [old, young]) await abort(signatureId)
  const days = async (id: string, count: number) =>
    sql`
      UPDATE signature SET completed_at = clock_timestamp() - ${count} * interval '1 day' WHERE id = ${id}
    `.execute(own.db)
  await days(old.signatureId, 30.1)
  await days(young.signatureId, 29.9)
  await sql`UPDATE signature SET created_at = '2020-01-01' WHERE id = ${pending.signatureId}`.execute(own.db)
  const signatures = async () => {
    const rows = await own.db.selectFrom('signature').select('id').orderBy('id').execute()
    return rows.map(({ id }) => id)
  }
  const ids = [old, young, pending].map(({ signatureId }) => signatureId)
  expect(await signatures()).toEqual(ids)

  const keeping = await own.replica({ RETENTION_DAYS: '30' })
  await expect.poll(signatures, WITHIN).toEqual(ids.slice(1))
  for (const table of ['challenge', 'timeline', 'idempotency_key']) {
    const { rows } = await sql`
      SELECT FROM ${sql.table(table)} WHERE signature_id = ${old.signatureId}
    `.execute(own.db)
    expect(rows).toEqual([])
  }
  await vi.waitFor(async () =>
    expect(await keeping.metrics()).toContain('database_rows_removed_total{table="signature"} 1'),
  )
  expect(await failure(own.client.getSignature({ signatureId: old.signatureId }))).toMatchObject({
    reason: 'SIGNATURE_NOT_FOUND',
  })
})
