import { Code } from '@connectrpc/connect'
import { afterAll, afterEach, beforeAll, beforeEach, expect, test, vi } from 'vitest'
import { BreakerState } from '../../gen/bank/signature/v1/routing_pb.ts'
import { PassReason } from '../../gen/bank/signature/v1/signature_pb.ts'
import type { Fault } from '../../src/sandbox/sandbox.ts'
import { type App, failure, startApp, startRequest } from '../support/app.ts'
import {
  breakers,
  FAILS,
  failing,
  OPEN_MS,
  open,
  passTime,
  ROUTES,
  request,
  shown,
  startedBy,
} from '../support/breakers.ts'
import { challengeOf } from '../support/delivery-outcome.ts'
import { called, times } from '../support/hops.ts'
import { publish } from '../support/routing.ts'

let app: App
beforeAll(async () => {
  app = await startApp({ DELIVERY_RETRIES: '0' })
  await publish(app, ROUTES)
})
beforeEach(() => app.sandbox.clear())
afterEach(() => void vi.useRealTimers())
afterAll(() => app[Symbol.asyncDispose]())

test('an open breaker lets nobody through for 30 seconds, then one call, whose success closes it', async () => {
  const replica = await open(app)
  passTime(OPEN_MS - 1)
  expect(await startedBy(replica)).toBe('vonage-sms')
  app.sandbox.clear()

  passTime(1)
  app.sandbox.failNext({ provider: 'twilio-sms', latencyMs: 500 })
  const received = app.sandbox.nextCall()
  const probe = startedBy(replica)
  expect((await received).provider).toBe('twilio-sms')
  expect(await breakers(replica)).toMatchObject({ 'twilio-sms': BreakerState.HALF_OPEN })
  expect(await shown(replica)).toEqual({ CLOSED: '0', OPEN: '0', HALF_OPEN: '1' })
  expect(await Promise.all([startedBy(replica), startedBy(replica)])).toEqual(['vonage-sms', 'vonage-sms'])

  expect(await probe).toBe('twilio-sms')
  expect(await breakers(replica)).toMatchObject({ 'twilio-sms': BreakerState.CLOSED })
  expect(called(app)).toEqual(['twilio-sms', 'vonage-sms', 'vonage-sms'])
  expect(await startedBy(replica)).toBe('twilio-sms')
  // It forgot what was before: these are nine calls, too few again.
  await failing(replica, 7)
  expect(await breakers(replica)).toMatchObject({ 'twilio-sms': BreakerState.CLOSED })
})

test.each<{ what: string; fault: Fault; verb: 'opens' | 'closes' }>([
  { what: 'a failure', fault: FAILS, verb: 'opens' },
  { what: 'a refusal of the recipient', fault: { provider: 'twilio-sms', status: 400, code: 21610 }, verb: 'closes' },
])('$what of the call that tries it $verb a breaker', async ({ fault, verb }) => {
  const replica = await open(app)
  passTime(OPEN_MS)
  app.sandbox.failNext(fault)

  await failure(replica.client.startSignature(request()))

  expect(called(app)).toEqual(['twilio-sms'])
  const state = verb === 'opens' ? BreakerState.OPEN : BreakerState.CLOSED
  expect(await breakers(replica)).toMatchObject({ 'twilio-sms': state })
  if (verb === 'closes') return
  passTime(OPEN_MS - 1)
  expect(await startedBy(replica)).toBe('vonage-sms')
  passTime(1)
  expect(await startedBy(replica)).toBe('twilio-sms')
})

test('of many who come at once when the 30 seconds are over, one call tries the provider', async () => {
  const replica = await open(app)
  passTime(OPEN_MS)
  app.sandbox.failNext({ provider: 'twilio-sms', latencyMs: 3_000 })

  const answers = await Promise.all(times(10, null).map(() => replica.client.startSignature(startRequest())))

  const told = answers.map(({ challenge }) => [
    challenge?.provider,
    ...(challenge?.passedOver.map((p) => p.reason) ?? []),
  ])
  expect(told.toSorted()).toEqual([['twilio-sms'], ...times(9, ['vonage-sms', PassReason.BREAKER_OPEN])])
  expect(called(app).filter((provider) => provider === 'twilio-sms')).toHaveLength(1)
  expect(await breakers(replica)).toMatchObject({ 'twilio-sms': BreakerState.CLOSED })
})

test.each<{ what: string; fault: Fault; state: BreakerState; delivery: string }>([
  { what: 'never answers', fault: { hang: true }, state: BreakerState.OPEN, delivery: 'UNKNOWN' },
  { what: 'answers later', fault: { latencyMs: 700 }, state: BreakerState.CLOSED, delivery: 'ACCEPTED' },
])(
  'the verdict of the call that tries a breaker is that of a provider that $what, and on record, though its caller has gone',
  async ({ fault, state, delivery }) => {
    const replica = await open(app, { TWILIO_TIMEOUT_SECONDS: '1' })
    passTime(OPEN_MS)
    app.sandbox.failNext({ provider: 'twilio-sms', ...fault })
    const received = app.sandbox.nextCall()
    const cancel = new AbortController()
    const start = request()
    const call = failure(replica.client.startSignature(start, { signal: cancel.signal }))
    await received

    cancel.abort()

    expect(await call).toMatchObject({ code: Code.Canceled })
    expect(await breakers(replica)).toMatchObject({ 'twilio-sms': BreakerState.HALF_OPEN })
    await vi.waitFor(async () => expect(await breakers(replica)).toMatchObject({ 'twilio-sms': state }), 5_000)
    await vi.waitFor(
      async () => expect(await challengeOf(app, start.idempotencyKey)).toMatchObject({ delivery_status: delivery }),
      5_000,
    )
  },
)

test('a caller without time for the call that tries a breaker is passed over, and it is left to one who has', async () => {
  const replica = await open(app)
  passTime(OPEN_MS)
  const start = request()

  expect(await failure(replica.client.startSignature(start, { timeoutMs: 4_000 }))).toMatchObject({
    code: Code.Unavailable,
    reason: 'PROVIDER_UNAVAILABLE',
    metadata: { provider: 'twilio-sms', provider_error_code: 'BREAKER_OPEN' },
    retryDelayMs: 1_000,
  })
  const { challenge } = await replica.client.startSignature(startRequest(), { timeoutMs: 4_000 })
  expect(challenge).toMatchObject({ provider: 'vonage-sms', passedOver: [{ reason: PassReason.BREAKER_OPEN }] })
  expect(called(app)).toEqual(['vonage-sms'])
  expect(await breakers(replica)).toMatchObject({ 'twilio-sms': BreakerState.OPEN })

  await replica.client.startSignature(start, { timeoutMs: 20_000 })
  expect(await breakers(replica)).toMatchObject({ 'twilio-sms': BreakerState.CLOSED })
})

test('when nobody with time for it comes for 30 seconds more, whoever comes tries a breaker', async () => {
  const replica = await open(app)
  passTime(OPEN_MS + 30_000 - 1)
  await replica.client.startSignature(startRequest(), { timeoutMs: 4_000 })
  passTime(1)
  await replica.client.startSignature(startRequest(), { timeoutMs: 4_000 })

  expect(called(app)).toEqual(['vonage-sms', 'twilio-sms'])
  expect(await breakers(replica)).toMatchObject({ 'twilio-sms': BreakerState.CLOSED })
})

test('the call that tries a breaker has its whole timeout, though its caller has another provider to go on to', async () => {
  const replica = await open(app, { TWILIO_TIMEOUT_SECONDS: '3' })
  passTime(OPEN_MS)
  app.sandbox.failNext({ provider: 'twilio-sms', latencyMs: 2_000 })

  // Half of it would be 1.9 s.
  const { challenge } = await replica.client.startSignature(startRequest(), { timeoutMs: 3_800 })

  expect(challenge).toMatchObject({ provider: 'twilio-sms' })
  expect(await breakers(replica)).toMatchObject({ 'twilio-sms': BreakerState.CLOSED })
})
