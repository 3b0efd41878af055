import { Code } from '@connectrpc/connect'
import { afterAll, beforeAll, beforeEach, expect, test, vi } from 'vitest'
import { ChallengeStatus, DeliveryStatus, SignatureStatus } from '../../gen/bank/signature/v1/signature_pb.ts'
import { type App, failure, startApp, startRequest, transaction, wrongCode } from '../support/app.ts'
import { challengeOf } from '../support/delivery-outcome.ts'
import { type HeldVendor, startHeldVendor } from '../support/held-vendor.ts'
import { called, challengesOf, codesTold, history, setPaused } from '../support/hops.ts'
import { publish, route } from '../support/routing.ts'

/** Twilio answers when it is told to; Vonage, behind it, at once. */
let twilio: HeldVendor
let app: App
beforeAll(async () => {
  twilio = await startHeldVendor()
  app = await startApp({ TWILIO_API_URL: twilio.url, DELIVERY_RETRIES: '0' })
  await publish(app, [route(10, { SMS: ['twilio-sms', 'vonage-sms'] })])
})
beforeEach(() => app.sandbox.clear())
afterAll(async () => {
  await app[Symbol.asyncDispose]()
  await twilio[Symbol.asyncDispose]()
})

test('tries go over to the next challenge: two wrong codes for the first leave one for the second', async () => {
  const request = startRequest()
  const start = app.client.startSignature(request)
  const call = await twilio.next()
  const { signature_id: signatureId } = await challengeOf(app, request.idempotencyKey)
  for (const left of ['2', '1']) {
    const error = await failure(complete(signatureId, wrongCode(call.code)))
    expect(error).toMatchObject({ reason: 'CODE_REJECTED', metadata: { tries_remaining: left } })
  }

  call.answer(503)

  expect((await start).challenge).toMatchObject({ provider: 'vonage-sms', triesRemaining: 1 })
  expect(await challengesOf(app, signatureId)).toMatchObject([
    { provider: 'twilio-sms', status: 'FAILED', tries_used: 2 },
    { provider: 'vonage-sms', status: 'SENT', tries_used: 2, max_tries: 3 },
  ])
  const [newCode = ''] = codesTold(app)
  const last = await failure(complete(signatureId, wrongCode(newCode)))
  expect(last).toMatchObject({ reason: 'CODE_REJECTED', metadata: { tries_remaining: '0' } })
  expect(await failure(complete(signatureId, newCode))).toMatchObject({ reason: 'TRIES_EXHAUSTED' })
  expect(await challengesOf(app, signatureId)).toMatchObject([
    { status: 'FAILED', failure_reason: 'PROVIDER_UNAVAILABLE' },
    { status: 'FAILED', failure_reason: 'TRIES_EXHAUSTED', tries_used: 3 },
  ])
  expect(await history(app, signatureId)).toEqual([
    'SIGNATURE_STARTED',
    'CHALLENGE_STARTED #1 twilio-sms',
    'CODE_REJECTED #1 2 left',
    'CODE_REJECTED #1 1 left',
    'CHALLENGE_FAILED #1 twilio-sms PROVIDER_UNAVAILABLE HTTP_503 after 1',
    'CHALLENGE_STARTED #2 vonage-sms',
    'CHALLENGE_SENT #2 vonage-sms after 1',
    'CODE_REJECTED #2 0 left',
    'SIGNATURE_FAILED #2 TRIES_EXHAUSTED',
  ])
})

test('no further code is sent once all tries were used on the one before', async () => {
  const request = startRequest()
  const start = failure(app.client.startSignature(request))
  const call = await twilio.next()
  const { signature_id: signatureId } = await challengeOf(app, request.idempotencyKey)
  for (const _ of ['first', 'second', 'third']) await failure(complete(signatureId, wrongCode(call.code)))

  call.answer(503)

  expect(await start).toMatchObject({ reason: 'TRIES_EXHAUSTED', metadata: { signature_id: signatureId } })
  expect(called(app)).toEqual([])
  expect(await challengesOf(app, signatureId)).toMatchObject([{ status: 'FAILED', failure_reason: 'TRIES_EXHAUSTED' }])
})

test.each([
  [503, { status: 'FAILED', failure_reason: 'TRIES_EXHAUSTED' }],
  ['reset', { status: 'PENDING', delivery_status: 'UNKNOWN' }],
] as const)(
  'no further code is sent when the provider ends with %s while the last try is being judged',
  async (end, left) => {
    const request = startRequest()
    const start = Promise.allSettled([app.client.startSignature(request)])
    const call = await twilio.next()
    const { id, signature_id: signatureId } = await challengeOf(app, request.idempotencyKey)
    await app.db.updateTable('challenge').set({ tries_used: 3 }).where('id', '=', id).execute()

    if (end === 'reset') call.reset()
    else call.answer(end)

    await start
    expect(called(app)).toEqual([])
    expect(await challengesOf(app, signatureId)).toMatchObject([{ id, ...left }])
  },
)

test('a customer who signs while the provider still fails gets no further code', async () => {
  const request = startRequest()
  const start = app.client.startSignature(request)
  const call = await twilio.next()
  const { signature_id: signatureId } = await challengeOf(app, request.idempotencyKey)
  const { signature } = await complete(signatureId, call.code)

  call.answer(500)

  expect(signature?.status).toBe(SignatureStatus.SIGNED)
  expect(await start).toMatchObject({
    signature: { id: signatureId, status: SignatureStatus.SIGNED },
    challenge: { status: ChallengeStatus.COMPLETED, provider: 'twilio-sms' },
  })
  expect(called(app)).toEqual([])
  expect(await challengesOf(app, signatureId)).toMatchObject([
    { status: 'COMPLETED', failure_reason: null, attempts: ['transient HTTP_500'] },
  ])
  expect(await history(app, signatureId)).toEqual([
    'SIGNATURE_STARTED',
    'CHALLENGE_STARTED #1 twilio-sms',
    'SIGNATURE_SIGNED #1',
    'CHALLENGE_FAILED #1 twilio-sms PROVIDER_UNAVAILABLE HTTP_500 after 1',
  ])
})

test('a signature that was aborted while the provider fails gets no further code', async () => {
  const request = startRequest()
  const start = failure(app.client.startSignature(request))
  const call = await twilio.next()
  const { signature_id: signatureId } = await challengeOf(app, request.idempotencyKey)
  const other = { ...transaction(), payeeName: 'Someone else' }
  const mismatch = await failure(app.client.completeSignature({ signatureId, code: call.code, transaction: other }))

  call.answer(500)

  expect(mismatch).toMatchObject({ reason: 'TRANSACTION_MISMATCH' })
  const aborted = { reason: 'SIGNATURE_ABORTED', metadata: { signature_id: signatureId } }
  expect(await start).toMatchObject(aborted)
  expect(await failure(app.client.startSignature(request))).toMatchObject(aborted)
  expect(called(app)).toEqual([])
  expect(await challengesOf(app, signatureId)).toMatchObject([
    { status: 'CANCELLED', attempts: ['transient HTTP_500'] },
  ])
})

test('a signature whose time ran out while the provider fails gets no further code', async () => {
  const request = startRequest()
  const start = failure(app.client.startSignature(request))
  const call = await twilio.next()
  const { signature_id: signatureId } = await challengeOf(app, request.idempotencyKey)
  await app.db.updateTable('signature').set({ expires_at: new Date() }).where('id', '=', signatureId).execute()

  call.answer(500)

  expect(await start).toMatchObject({ reason: 'PROVIDER_UNAVAILABLE', metadata: { provider: 'twilio-sms' } })
  expect(called(app)).toEqual([])
  expect(await challengesOf(app, signatureId)).toMatchObject([{ status: 'FAILED' }])
})

test('a repeated start waits for the whole fallback, and then tells of the challenge that was made last', async () => {
  app.sandbox.failNext({ provider: 'vonage-sms', latencyMs: 400 })
  const request = startRequest()
  const start = app.client.startSignature(request)
  const first = await twilio.next()
  expect(await failure(app.client.startSignature(request))).toMatchObject({ reason: 'IDEMPOTENCY_IN_PROGRESS' })

  const onceMore = app.sandbox.nextCall()
  first.answer(503)
  await onceMore

  expect(await failure(app.client.startSignature(request))).toMatchObject({
    code: Code.Aborted,
    reason: 'IDEMPOTENCY_IN_PROGRESS',
    retryDelayMs: 1_000,
  })
  const answer = await start
  expect(answer.challenge).toMatchObject({ provider: 'vonage-sms', status: ChallengeStatus.SENT })
  expect(await app.client.startSignature(request)).toEqual(answer)
  expect(called(app)).toEqual(['vonage-sms'])
})

test.each([
  { what: 'the budget', env: { DELIVERY_BUDGET_SECONDS: '0.8' }, options: {} },
  { what: 'its caller', env: {}, options: { timeoutMs: 800 } },
])('a provider that comes back when $what has no time left is not begun with', async ({ env, options }) => {
  await using replica = await app.replica(env)
  // As there is nobody to go on to, the first provider gets all the time.
  await setPaused(replica, 'vonage-sms', true)
  const request = startRequest()
  const start = replica.client.startSignature(request, options).catch(() => {})
  const call = await twilio.next()
  await setPaused(replica, 'vonage-sms', false)

  await start

  await vi.waitFor(async () => {
    expect(await challengeOf(app, request.idempotencyKey)).toMatchObject({ delivery_status: 'UNKNOWN' })
  }, 5_000)
  const { signature, challenge } = await app.client.startSignature(request)
  expect(challenge).toMatchObject({ provider: 'twilio-sms', status: ChallengeStatus.PENDING })
  expect(signature?.challengeIds).toHaveLength(1)
  expect(called(app)).toEqual([])
  expect((await complete(signature?.id ?? '', call.code)).signature?.status).toBe(SignatureStatus.SIGNED)
})

test('a deadline is shared by the providers like the budget: the first one gets half of it', async () => {
  const request = startRequest()
  const startedMs = performance.now()
  const start = app.client.startSignature(request, { timeoutMs: 2_000 })
  const call = await twilio.next()

  const { signature, challenge } = await start

  const tookMs = performance.now() - startedMs
  call.answer(503)
  expect(tookMs).toBeGreaterThan(800)
  expect(challenge).toMatchObject({ provider: 'vonage-sms', deliveryStatus: DeliveryStatus.ACCEPTED })
  expect(await challengesOf(app, signature?.id)).toMatchObject([
    { provider: 'twilio-sms', status: 'CANCELLED', attempts: ['unknown TIMEOUT'] },
    { provider: 'vonage-sms', status: 'SENT' },
  ])
})

test('a caller who cancels during the first call gets no second one', async () => {
  const request = startRequest()
  const cancel = new AbortController()
  const start = failure(app.client.startSignature(request, { signal: cancel.signal }))
  const call = await twilio.next()

  cancel.abort()

  expect(await start).toMatchObject({ code: Code.Canceled })
  await vi.waitFor(async () => {
    expect(await challengeOf(app, request.idempotencyKey)).toMatchObject({ delivery_status: 'UNKNOWN' })
  }, 5_000)
  const { signature, challenge } = await app.client.startSignature(request)
  expect(challenge).toMatchObject({ provider: 'twilio-sms', status: ChallengeStatus.PENDING })
  expect(called(app)).toEqual([])
  expect((await complete(signature?.id ?? '', call.code)).signature?.status).toBe(SignatureStatus.SIGNED)
})

test('a provider that is paused during its delivery is called no more, and the next one is', async () => {
  await using replica = await app.replica({ DELIVERY_RETRIES: '3', TWILIO_API_URL: twilio.url })
  const start = replica.client.startSignature(startRequest())
  const call = await twilio.next()
  const callsBefore = twilio.calls
  await setPaused(replica, 'twilio-sms', true)

  call.answer(503)

  const { signature, challenge } = await start
  await setPaused(replica, 'twilio-sms', false)
  expect(challenge).toMatchObject({ provider: 'vonage-sms', status: ChallengeStatus.SENT })
  expect(twilio.calls).toBe(callsBefore)
  expect(await challengesOf(app, signature?.id)).toMatchObject([
    { provider: 'twilio-sms', status: 'FAILED', attempts: ['transient HTTP_503'] },
    { provider: 'vonage-sms', status: 'SENT', attempts: ['sent'] },
  ])
})

function complete(signatureId: string, code: string) {
  return app.client.completeSignature({ signatureId, code, transaction: transaction() })
}
