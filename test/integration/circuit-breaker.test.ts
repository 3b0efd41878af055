import { Code } from '@connectrpc/connect'
import { afterAll, afterEach, beforeAll, beforeEach, expect, test, vi } from 'vitest'
import { BreakerState } from '../../gen/bank/signature/v1/routing_pb.ts'
import { ChallengeStatus, Channel, PassReason } from '../../gen/bank/signature/v1/signature_pb.ts'
import { type App, failure, startApp, startRequest } from '../support/app.ts'
import {
  breakers,
  FAILS,
  failing,
  inTurn,
  OPEN_MS,
  open,
  passTime,
  ROUTES,
  recentCalls,
  request,
  shown,
  startedBy,
  withBreaker,
  working,
} from '../support/breakers.ts'
import { called, challengesOf, history, times } from '../support/hops.ts'
import { publish, route } from '../support/routing.ts'

const REFUSED = '+15005550009'

let app: App
beforeAll(async () => {
  app = await startApp({ DELIVERY_RETRIES: '0' })
  await publish(app, ROUTES)
})
beforeEach(() => app.sandbox.clear())
afterEach(() => void vi.useRealTimers())
afterAll(() => app[Symbol.asyncDispose]())

test('nine failures are too few to open a breaker, and the tenth opens it', async () => {
  const replica = await withBreaker(app)
  await failing(replica, 9)
  expect(await breakers(replica)).toMatchObject({ 'twilio-sms': BreakerState.CLOSED })

  await failing(replica, 1)

  expect(await breakers(replica)).toMatchObject({
    'twilio-sms': BreakerState.OPEN,
    'twilio-voice': BreakerState.CLOSED,
    'vonage-sms': BreakerState.CLOSED,
    'fcm-push': BreakerState.CLOSED,
  })
})

test.each([
  { failed: 5, of: 10, opens: true },
  { failed: 4, of: 10, opens: false },
  { failed: 10, of: 20, opens: true },
  { failed: 9, of: 20, opens: false },
])('of $of calls $failed that failed open a breaker: $opens', async ({ failed, of, opens }) => {
  const replica = await withBreaker(app)
  await working(replica, of - failed)
  await failing(replica, failed)

  expect(await breakers(replica)).toMatchObject({ 'twilio-sms': opens ? BreakerState.OPEN : BreakerState.CLOSED })
})

test('a provider with an open breaker is skipped without a call, and everyone is told', async () => {
  const replica = await open(app)

  const { signature, challenge } = await replica.client.startSignature(startRequest())

  expect(challenge).toMatchObject({
    provider: 'vonage-sms',
    status: ChallengeStatus.SENT,
    passedOver: [{ provider: 'twilio-sms', channel: Channel.SMS, reason: PassReason.BREAKER_OPEN }],
  })
  expect(called(app)).toEqual(['vonage-sms'])
  expect(await challengesOf(app, signature?.id)).toMatchObject([
    { provider: 'vonage-sms', passedOver: ['twilio-sms BREAKER_OPEN'], attempts: ['sent'] },
  ])
  expect(await history(replica, signature?.id)).toEqual([
    'SIGNATURE_STARTED',
    'PROVIDER_PASSED_OVER twilio-sms BREAKER_OPEN',
    'CHALLENGE_STARTED #1 vonage-sms',
    'CHALLENGE_SENT #1 vonage-sms after 1',
  ])
  expect(await shown(replica)).toEqual({ CLOSED: '0', OPEN: '1', HALF_OPEN: '0' })
  const { providers } = await replica.routing.listProviders({})
  const twilio = providers.find(({ name }) => name === 'twilio-sms')
  expect(twilio).toMatchObject({ breakerState: BreakerState.OPEN, recentCalls: { calls: 10, errorRate: 1 } })
  expect(replica.logs).toContainEqual(
    expect.objectContaining({ level: 'warn', msg: 'circuit breaker', provider: 'twilio-sms', state: 'OPEN' }),
  )
})

test('breakers are of one provider and one process', async () => {
  await open(app)
  const other = await withBreaker(app)

  const { challenge } = await other.client.startSignature(startRequest())

  expect(challenge).toMatchObject({ provider: 'twilio-sms', passedOver: [] })
  expect(await breakers(other)).toMatchObject({ 'twilio-sms': BreakerState.CLOSED })
  expect(await shown(other)).toEqual({ CLOSED: '1', OPEN: '0', HALF_OPEN: '0' })
})

test.each([
  { what: 'the recipient', phoneNumber: REFUSED },
  { what: 'the pair of number and sender', phoneNumber: '+15005550002' },
])('a refusal of $what never counts, neither as a failure nor as a success', async ({ phoneNumber }) => {
  const replica = await withBreaker(app)
  const refused = () => failure(replica.client.startSignature(request({ phoneNumber })))
  await inTurn(30, refused)
  expect(await breakers(replica)).toMatchObject({ 'twilio-sms': BreakerState.CLOSED })
  const { providers } = await replica.routing.listProviders({})
  const twilio = providers.find(({ name }) => name === 'twilio-sms')
  expect(twilio?.recentCalls).toMatchObject({ calls: 30, errorRate: 0 })

  await inTurn(9, async () => {
    await failing(replica, 1)
    await refused()
  })
  expect(await breakers(replica)).toMatchObject({ 'twilio-sms': BreakerState.CLOSED })
  await failing(replica, 1)

  expect(await breakers(replica)).toMatchObject({ 'twilio-sms': BreakerState.OPEN })
})

test('push tokens of another sender open no breaker', async () => {
  await publish(app, [...ROUTES, route(5, { PUSH: ['fcm-push'] }, { customerSegment: 'PUSH' })])
  const replica = await withBreaker(app)

  await inTurn(12, () =>
    failure(replica.client.startSignature(request({ customerSegment: 'PUSH', pushToken: 'mismatch-1' }))),
  )

  expect(called(app)).toEqual(times(12, 'fcm-push'))
  expect(await breakers(replica)).toMatchObject({ 'fcm-push': BreakerState.CLOSED })
})

test('a caller who does not wait counts nothing, while a provider that takes too long does', async () => {
  const patient = await withBreaker(app, { TWILIO_TIMEOUT_SECONDS: '5' })
  await inTurn(10, async () => {
    app.sandbox.failNext({ provider: 'twilio-sms', hang: true })
    const received = app.sandbox.nextCall()
    const cancel = new AbortController()
    const start = failure(patient.client.startSignature(request(), { signal: cancel.signal }))
    await received
    cancel.abort()
    expect(await start).toMatchObject({ code: Code.Canceled })
  })
  await vi.waitFor(async () => expect(await recentCalls(patient)).toMatchObject({ calls: 10, errorRate: 0 }), 20_000)
  expect(await breakers(patient)).toMatchObject({ 'twilio-sms': BreakerState.CLOSED })

  const strict = await withBreaker(app, { TWILIO_TIMEOUT_SECONDS: '0.1' })
  app.sandbox.failNext(...times(10, { provider: 'twilio-sms', hang: true }))
  await Promise.all(times(10, null).map(() => strict.client.startSignature(request())))

  expect(await breakers(strict)).toMatchObject({ 'twilio-sms': BreakerState.OPEN })
})

const { CLOSED, OPEN } = BreakerState

test.each([
  { what: "its caller's deadline", timeoutMs: 1_800, env: {}, start: request, state: CLOSED, errorRate: 0 },
  {
    what: 'the share of a caller with less time',
    timeoutMs: 2_700,
    env: {},
    start: startRequest,
    state: CLOSED,
    errorRate: 0,
  },
  {
    what: 'the share of a caller with more time',
    timeoutMs: 4_800,
    env: {},
    start: startRequest,
    state: OPEN,
    errorRate: 1,
  },
  { what: 'our budget', env: { DELIVERY_BUDGET_SECONDS: '1.5' }, start: request, state: OPEN, errorRate: 1 },
])('after hung calls that $what ends before their timeout a breaker is $state', async (given) => {
  const replica = await withBreaker(app, { TWILIO_TIMEOUT_SECONDS: '3', ...given.env })
  const options = given.timeoutMs ? { timeoutMs: given.timeoutMs } : {}

  // On a busy machine some deadlines are over before their call.
  await vi.waitFor(async () => {
    app.sandbox.failNext(...times(10, { provider: 'twilio-sms', hang: true }))
    await Promise.allSettled(times(10, null).map(() => replica.client.startSignature(given.start(), options)))
    expect((await recentCalls(replica))?.calls).toBeGreaterThanOrEqual(10)
  }, 20_000)
  expect(await recentCalls(replica)).toMatchObject({ errorRate: given.errorRate })
  expect(await breakers(replica)).toMatchObject({ 'twilio-sms': given.state })
})

test('when every breaker of a route is open, a start fails at once, stores nothing, and is told how long to wait', async () => {
  const replica = await open(app)
  const start = request()

  const error = await failure(replica.client.startSignature(start))

  expect(error).toMatchObject({
    code: Code.Unavailable,
    reason: 'PROVIDER_UNAVAILABLE',
    metadata: { provider: 'twilio-sms', provider_error_code: 'BREAKER_OPEN' },
  })
  expect(error.metadata).not.toHaveProperty('signature_id')
  expect(error.retryDelayMs).toBe(OPEN_MS)
  expect(called(app)).toEqual([])
  const claims = app.db.selectFrom('idempotency_key').where('key', '=', String(start.idempotencyKey)).selectAll()
  expect(await claims.execute()).toEqual([])
  // The same key serves once a provider is back.
  passTime(OPEN_MS)
  expect((await replica.client.startSignature(start)).challenge).toMatchObject({ status: ChallengeStatus.SENT })
})

test('switched off, a breaker never opens', async () => {
  await failing(app, 25)

  expect(await startedBy(app)).toBe('twilio-sms')
  expect(await breakers(app)).toMatchObject({ 'twilio-sms': BreakerState.UNSPECIFIED })
  expect(await shown(app)).toEqual({ CLOSED: '0', OPEN: '0', HALF_OPEN: '0' })
})

test('a delivery whose retries open the breaker stops there, and the next provider is called', async () => {
  const replica = await withBreaker(app, { DELIVERY_RETRIES: '3' })
  app.sandbox.failNext(...times(8, FAILS))
  await failure(replica.client.startSignature(request()))
  await failure(replica.client.startSignature(request()))
  app.sandbox.clear()
  app.sandbox.failNext(...times(4, FAILS))

  const { signature, challenge } = await replica.client.startSignature(startRequest())

  expect(challenge).toMatchObject({ provider: 'vonage-sms', status: ChallengeStatus.SENT })
  expect(called(app)).toEqual(['twilio-sms', 'twilio-sms', 'vonage-sms'])
  expect(await challengesOf(app, signature?.id)).toMatchObject([
    { provider: 'twilio-sms', status: 'FAILED', attempts: times(2, 'transient 20503') },
    { provider: 'vonage-sms', status: 'SENT' },
  ])
})
