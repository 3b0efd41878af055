import { randomUUID } from 'node:crypto'
import { Code } from '@connectrpc/connect'
import { sql } from 'kysely'
import { afterAll, beforeAll, beforeEach, expect, test, vi } from 'vitest'
import { SignatureStatus } from '../../gen/bank/signature/v1/signature_pb.ts'
import { createDeliver } from '../../src/providers/deliver.ts'
import { watchHealth } from '../../src/providers/provider-health.ts'
import { createTwilioSms } from '../../src/providers/twilio/twilio-sms.ts'
import { createLogger } from '../../src/telemetry/logger.ts'
import { createMetrics } from '../../src/telemetry/metrics.ts'
import { type App, codeIn, failure, PHONE, startApp, startRequest, transaction } from '../support/app.ts'
import {
  attempts,
  challengeOf,
  type Ended,
  expectFailed,
  expectSent,
  expectUnknown,
  SENT,
  times,
} from '../support/delivery-outcome.ts'

let app: App
beforeAll(async () => {
  app = await startApp()
})
beforeEach(() => app.sandbox.clear())
afterAll(() => app[Symbol.asyncDispose]())

const TIMED_OUT: Ended = ['unknown', 'TIMEOUT']
/** What a call is recorded as that ended because its caller gave up. */
const CUT_OFF: Ended = ['unknown', 'ABORTED']

test('a wait that a 429 asks for is not begun when it outlasts the budget', async () => {
  app.sandbox.failNext({ status: 429, retryAfterSeconds: 16 })
  const startedMs = performance.now()

  const error = await failure(app.client.startSignature(startRequest()))

  expect(performance.now() - startedMs).toBeLessThan(10_000)
  await expectFailed(app, error, 'PROVIDER_UNAVAILABLE', [['transient', '20429']])
  expect(app.sandbox.calls).toHaveLength(1)
})

test('the budget cuts a call under way', async () => {
  await using replica = await app.replica({ DELIVERY_BUDGET_SECONDS: '0.5' })
  app.sandbox.failNext({ hang: true, sent: true })
  const startedMs = performance.now()

  const answer = await replica.client.startSignature(startRequest())

  const tookMs = performance.now() - startedMs
  expect(tookMs).toBeGreaterThanOrEqual(500)
  expect(tookMs).toBeLessThan(4_500)
  await expectUnknown(app, answer, [TIMED_OUT])
  expect(app.sandbox.calls).toHaveLength(1)
})

test('the budget bounds all calls and waits together', async () => {
  await using replica = await app.replica({
    DELIVERY_BUDGET_SECONDS: '1.1',
    DELIVERY_BACKOFF_MS: '200',
    TWILIO_TIMEOUT_SECONDS: '0.4',
  })
  app.sandbox.failNext({ hang: true }, { hang: true }, { hang: true }, { hang: true })
  const startedMs = performance.now()

  const answer = await replica.client.startSignature(startRequest())

  expect(performance.now() - startedMs).toBeLessThan(5_000)
  // A third call would begin after 1.4 seconds.
  await expectUnknown(app, answer, times(2, TIMED_OUT))
  expect(app.sandbox.calls).toHaveLength(2)
})

test('a caller whose deadline passes during the call hears so at once, and the code still signs', async () => {
  app.sandbox.failNext({ hang: true, sent: true })
  const request = startRequest()
  const startedMs = performance.now()

  const error = await failure(app.client.startSignature(request, { timeoutMs: 1_000 }))

  expect(performance.now() - startedMs).toBeLessThan(4_500)
  expect(error.code).toBe(Code.DeadlineExceeded)
  await settled(request, 'UNKNOWN')
  await expectUnknown(app, await app.client.startSignature(request), [CUT_OFF])
  await expectSigns(request)
  expect(app.sandbox.calls).toHaveLength(1)
})

test('a retry that a deadline leaves no time for is not waited for, and what was surely not sent has failed', async () => {
  await using replica = await app.replica({ DELIVERY_BACKOFF_MS: '5000' })
  app.sandbox.failNext({ status: 500 })
  const request = startRequest()

  const error = await failure(replica.client.startSignature(request, { timeoutMs: 4_000 }))

  await expectFailed(app, error, 'PROVIDER_UNAVAILABLE', [['transient', '20500']])
  expect(app.sandbox.calls).toHaveLength(1)
})

test('a message that the provider takes after its caller has cancelled can be signed with', async () => {
  app.sandbox.failNext({ latencyMs: 300 })
  const received = app.sandbox.nextCall()
  const request = startRequest()
  const cancel = new AbortController()
  const call = failure(app.client.startSignature(request, { signal: cancel.signal }))
  await received

  cancel.abort()

  expect(await call).toMatchObject({ code: Code.Canceled })
  await settled(request, 'UNKNOWN')
  await expectUnknown(app, await app.client.startSignature(request), [CUT_OFF])
  await vi.waitFor(() => expect(app.sandbox.messages).toHaveLength(1))
  await expectSigns(request)
  expect(app.sandbox.calls).toHaveLength(1)
})

test('a message that the provider took just before its caller cancelled is recorded as sent', async () => {
  const request = startRequest()
  const cancel = new AbortController()
  app.sandbox.failNext({ latencyMs: 500 })
  const called = app.sandbox.nextCall()
  const call = failure(app.client.startSignature(request, { signal: cancel.signal }))
  await called
  const table = await holdTable()
  await table.wantedBy('update "challenge" set "lease_expires_at"')

  cancel.abort()
  expect(await call).toMatchObject({ code: Code.Canceled })
  await serverKnows()
  await table.release()

  await settled(request, 'ACCEPTED')
  await expectSent(app, await app.client.startSignature(request), [SENT])
  expect(app.sandbox.calls).toHaveLength(1)
})

test('a caller that cancels before the first call gets nothing sent', async () => {
  const request = startRequest()
  const cancel = new AbortController()
  const table = await holdTable()
  const call = failure(app.client.startSignature(request, { signal: cancel.signal }))
  await table.wantedBy('insert into "timeline"')

  cancel.abort()
  expect(await call).toMatchObject({ code: Code.Canceled })
  await serverKnows()
  await table.release()

  await settled(request, 'FAILED')
  const error = await failure(app.client.startSignature(request))
  expect(error).toMatchObject({ code: Code.Unavailable, reason: 'PROVIDER_UNAVAILABLE' })
  expect(await attempts(app, error.metadata.challenge_id)).toEqual([])
  expect(app.sandbox.calls).toHaveLength(0)
})

test('a message is sent even if time runs out in the moment after the provider took it', async () => {
  const logs: string[] = []
  const metrics = createMetrics()
  const cancel = new AbortController()
  const log = createLogger('debug', { write: (line) => void logs.push(line) })
  const deliver = createDeliver({
    policy: { retries: 3, backoffMs: 10 },
    health: watchHealth([{ name: 'twilio-sms', timeoutMs: 5_000 }], { breaker: true, metrics, log }),
    passReason: () => undefined,
    metrics,
    log,
    clock: () => new Date(),
    ending: new AbortController().signal,
  })
  const provider = createTwilioSms({
    accountSid: app.env.TWILIO_ACCOUNT_SID ?? '',
    authToken: app.env.TWILIO_AUTH_TOKEN ?? '',
    apiKey: undefined,
    fromNumber: '+15005550006',
    apiUrl: app.sandbox.url,
    timeoutMs: 5_000,
    previousAuthToken: undefined,
    webhookUrl: undefined,
    // It is asked when the provider has taken the message.
    clock() {
      cancel.abort()
      return new Date()
    },
  })

  const outcome = await deliver(
    provider,
    {
      signatureId: 'signature-1',
      challengeId: 'challenge-1',
      phone: PHONE,
      pushToken: undefined,
      code: '012345',
      transaction: {
        amount: { currency: 'EUR', units: 1n, nanos: 0 },
        payeeName: 'ACME Ltd',
        payeeAccount: 'ES9121000418450200051332',
        transactionType: '',
        reference: '',
      },
      locale: 'en',
      expiresAt: new Date(Date.now() + 300_000),
      leftMs: () => 300_000,
    },
    async () => true,
    { budgetMs: 15_000, totalMs: 15_000, patienceMs: 15_000 },
    cancel.signal,
  )

  expect(cancel.signal.aborted).toBe(true)
  expect(outcome).toMatchObject({
    outcome: 'sent',
    providerChallengeId: app.sandbox.messages[0]?.sid,
    attempts: [{ number: 1, outcome: 'sent' }],
  })
  expect(logs.map((line) => JSON.parse(line))).toEqual([expect.objectContaining({ level: 'info', attempts: 1 })])
  expect(await metrics.registry.metrics()).toContain('provider_twilio_calls_total{status="success"} 1')
})

/** Waits until a delivery whose caller has gone is recorded. */
async function settled({ idempotencyKey }: { idempotencyKey?: string }, as: 'ACCEPTED' | 'UNKNOWN' | 'FAILED') {
  await vi.waitFor(async () => {
    const { status, delivery_status } = await challengeOf(app, idempotencyKey)
    expect(delivery_status ?? status).toBe(as)
  }, 5_000)
}

/** Asserts that the code on the phone signs what was started by this request. */
async function expectSigns({ idempotencyKey }: { idempotencyKey?: string }) {
  const { signature_id: signatureId } = await challengeOf(app, idempotencyKey)
  const code = codeIn(app.sandbox.messages[0]?.body)
  const { signature } = await app.client.completeSignature({ signatureId, code, transaction: transaction() })
  expect(signature?.status).toBe(SignatureStatus.SIGNED)
}

/** Resolves when the server has heard of the cancellations sent before: this goes over the same connection, behind them. */
async function serverKnows() {
  expect(await failure(app.client.getChallenge({ challengeId: randomUUID() }))).toMatchObject({ code: Code.NotFound })
}

/** Keeps challenges from being written until it is released. */
async function holdTable() {
  const held = Promise.withResolvers<void>()
  const release = Promise.withResolvers<void>()
  const done = app.db.transaction().execute(async (trx) => {
    await sql`LOCK TABLE challenge IN EXCLUSIVE MODE`.execute(trx)
    held.resolve()
    await release.promise
  })
  await Promise.race([held.promise, done])
  return {
    /** Resolves when such a statement waits. */
    wantedBy: (statement: string) =>
      vi.waitFor(async () => {
        const { rows } = await sql`
          SELECT FROM pg_stat_activity
          WHERE datname = current_database() AND wait_event_type = 'Lock' AND query LIKE ${`${statement}%`}
        `.execute(app.db)
        expect(rows).toHaveLength(1)
      }, 5_000),
    async release() {
      release.resolve()
      await done
    },
  }
}

test('what could not be recorded is logged, though its caller has gone', async () => {
  await using own = await startApp()
  own.sandbox.failNext({ hang: true })
  const called = own.sandbox.nextCall()
  const caller = new AbortController()
  const call = failure(own.client.startSignature(startRequest(), { signal: caller.signal }))
  await called
  await sql`DROP TABLE attempt`.execute(own.db)
  caller.abort()

  expect(await call).toMatchObject({ code: Code.Canceled })
  const logged = expect.objectContaining({
    level: 'error',
    msg: 'bug',
    error: expect.objectContaining({ code: '42P01' }),
  })
  await vi.waitFor(() => expect(own.logs).toContainEqual(logged))
})
