import { Code } from '@connectrpc/connect'
import { afterAll, afterEach, beforeAll, beforeEach, expect, test, vi } from 'vitest'
import { BreakerState } from '../../gen/bank/signature/v1/routing_pb.ts'
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
  expect(told.toSorted()).toEqual([['twilio-sms'], ...times(9, ['vonage-sms', 'BREAKER_OPEN'])])
  expect(called(app).filter((provider) => provider === 'twilio-sms')).toHaveLength(1)
  expect(await breakers(replica)).toMatchObject({ 'twilio-sms': BreakerState.CLOSED })
})

test('a caller who does not wait for the call that tries a breaker does not close it', async () => {
  const replica = await open(app, { TWILIO_TIMEOUT_SECONDS: '5' })
  passTime(OPEN_MS)
  app.sandbox.failNext({ provider: 'twilio-sms', hang: true })
  const received = app.sandbox.nextCall()
  const cancel = new AbortController()
  const start = failure(replica.client.startSignature(request(), { signal: cancel.signal }))
  await received

  cancel.abort()

  expect(await start).toMatchObject({ code: Code.Canceled })
  await vi.waitFor(
    async () => expect(await breakers(replica)).toMatchObject({ 'twilio-sms': BreakerState.OPEN }),
    5_000,
  )
})
