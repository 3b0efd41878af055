import { Code } from '@connectrpc/connect'
import { afterAll, beforeAll, beforeEach, expect, test, vi } from 'vitest'
import {
  ChallengeStatus,
  Channel,
  DeliveryStatus,
  PassReason,
  SignatureStatus,
} from '../../gen/bank/signature/v1/signature_pb.ts'
import { type App, failure, row, startApp, startRequest, transaction } from '../support/app.ts'
import { called, challengesOf, codesTold, expectOnlyTheLastCodeSigns, history, times } from '../support/hops.ts'
import { publish, route } from '../support/routing.ts'

let app: App
beforeAll(async () => {
  app = await startApp({ TWILIO_TIMEOUT_SECONDS: '0.5' })
  await publish(app, [route(30, { SMS: ['twilio-sms', 'vonage-sms'], VOICE: ['twilio-voice'] })])
})
beforeEach(() => app.sandbox.clear())
afterAll(() => app[Symbol.asyncDispose]())

test('a vendor that answers 503 to every call is followed by the other vendor of the channel', async () => {
  app.sandbox.failNext(...times(4, { provider: 'twilio-sms', status: 503 }))

  const { signature, challenge } = await app.client.startSignature(startRequest())

  expect(signature).toMatchObject({ status: SignatureStatus.PENDING, challengeIds: [expect.anything(), challenge?.id] })
  expect(challenge).toMatchObject({
    provider: 'vonage-sms',
    channel: Channel.SMS,
    status: ChallengeStatus.SENT,
    deliveryStatus: DeliveryStatus.ACCEPTED,
    providerChallengeId: app.sandbox.messages[0]?.sid,
    triesRemaining: 3,
    routePriority: 30,
    routingTableVersion: 2,
    passedOver: [{ provider: 'twilio-sms', channel: Channel.SMS, reason: PassReason.PROVIDER_UNAVAILABLE }],
  })
  expect(called(app)).toEqual([...times(4, 'twilio-sms'), 'vonage-sms'])
  expect(app.sandbox.messages).toHaveLength(1)
  const [first, second, ...others] = await challengesOf(app, signature?.id)
  expect(others).toEqual([])
  expect(first).toMatchObject({
    provider: 'twilio-sms',
    status: 'FAILED',
    failure_reason: 'PROVIDER_UNAVAILABLE',
    provider_error_code: '20503',
    delivery_status: null,
    provider_challenge_id: null,
    passedOver: [],
    attempts: times(4, 'transient 20503'),
  })
  expect(second).toMatchObject({
    provider: 'vonage-sms',
    status: 'SENT',
    failure_reason: null,
    routing_table_version: 2,
    route: { priority: 30 },
    passedOver: ['twilio-sms PROVIDER_UNAVAILABLE'],
    attempts: ['sent'],
    expires_at: first?.expires_at,
  })
  expect(await history(app, signature?.id)).toEqual([
    'SIGNATURE_STARTED',
    'CHALLENGE_STARTED #1 twilio-sms',
    'CHALLENGE_FAILED #1 twilio-sms PROVIDER_UNAVAILABLE 20503 after 4',
    'CHALLENGE_STARTED #2 vonage-sms',
    'CHALLENGE_SENT #2 vonage-sms after 1',
  ])
  await expectOnlyTheLastCodeSigns(app, signature?.id)
  expect(await app.metrics()).toContain(
    'challenge_fallbacks_total{from="twilio-sms",to="vonage-sms",reason="PROVIDER_UNAVAILABLE"} 1',
  )
})

test('a phone that cannot get texts is not tried by the other vendor of texts, but called', async () => {
  const request = startRequest({ phoneNumber: '+15005550009' })

  const { signature, challenge } = await app.client.startSignature(request)

  expect(challenge).toMatchObject({
    provider: 'twilio-voice',
    channel: Channel.VOICE,
    status: ChallengeStatus.SENT,
    passedOver: [
      { provider: 'twilio-sms', channel: Channel.SMS, reason: PassReason.DESTINATION_UNREACHABLE },
      { provider: 'vonage-sms', channel: Channel.SMS, reason: PassReason.RECIPIENT_REFUSED },
    ],
  })
  expect(called(app)).toEqual(['twilio-sms', 'twilio-voice'])
  expect(await challengesOf(app, signature?.id)).toMatchObject([
    { status: 'FAILED', failure_reason: 'DESTINATION_UNREACHABLE', provider_error_code: '21614', passedOver: [] },
    {
      status: 'SENT',
      channel: 'VOICE',
      passedOver: ['twilio-sms DESTINATION_UNREACHABLE', 'vonage-sms RECIPIENT_REFUSED'],
      attempts: ['sent'],
    },
  ])
  expect(await history(app, signature?.id)).toEqual([
    'SIGNATURE_STARTED',
    'CHALLENGE_STARTED #1 twilio-sms',
    'CHALLENGE_FAILED #1 twilio-sms DESTINATION_UNREACHABLE 21614 after 1',
    'PROVIDER_PASSED_OVER vonage-sms RECIPIENT_REFUSED',
    'CHALLENGE_STARTED #2 twilio-voice',
    'CHALLENGE_SENT #2 twilio-voice after 1',
  ])
  await expectOnlyTheLastCodeSigns(app, signature?.id)
})

test('a phone that our account may not send to by one vendor gets its text by the other', async () => {
  const { signature, challenge } = await app.client.startSignature(startRequest({ phoneNumber: '+15005550003' }))

  expect(challenge).toMatchObject({
    provider: 'vonage-sms',
    status: ChallengeStatus.SENT,
    passedOver: [{ provider: 'twilio-sms', channel: Channel.SMS, reason: PassReason.PROVIDER_UNAVAILABLE }],
  })
  expect(called(app)).toEqual(['twilio-sms', 'vonage-sms'])
  expect(await challengesOf(app, signature?.id)).toMatchObject([
    {
      status: 'FAILED',
      failure_reason: 'PROVIDER_UNAVAILABLE',
      provider_error_code: '21408',
      attempts: ['pair 21408'],
    },
    { status: 'SENT', attempts: ['sent'] },
  ])
})

test('a phone that is refused after a call in doubt is not tried by the other vendor either', async () => {
  app.sandbox.failNext({ provider: 'twilio-sms', reset: true }, { provider: 'twilio-sms', status: 400, code: 21614 })

  const { signature, challenge } = await app.client.startSignature(startRequest())

  expect(challenge).toMatchObject({
    provider: 'twilio-voice',
    passedOver: [
      { reason: PassReason.DESTINATION_UNREACHABLE },
      { provider: 'vonage-sms', reason: PassReason.RECIPIENT_REFUSED },
    ],
  })
  expect(await challengesOf(app, signature?.id)).toMatchObject([{ status: 'CANCELLED' }, { status: 'SENT' }])
  await expectOnlyTheLastCodeSigns(app, signature?.id)
})

test('a vendor that refuses us is called once, and followed by the next', async () => {
  app.sandbox.failNext({ provider: 'twilio-sms', status: 401 }, { provider: 'vonage-sms', status: 403 })

  const { signature, challenge } = await app.client.startSignature(startRequest())

  expect(challenge).toMatchObject({ provider: 'twilio-voice', status: ChallengeStatus.SENT })
  expect(called(app)).toEqual(['twilio-sms', 'vonage-sms', 'twilio-voice'])
  expect(await challengesOf(app, signature?.id)).toMatchObject([
    { provider: 'twilio-sms', status: 'FAILED', attempts: ['ours 20003'] },
    { provider: 'vonage-sms', status: 'FAILED', attempts: ['ours forbidden'] },
    {
      provider: 'twilio-voice',
      status: 'SENT',
      passedOver: ['twilio-sms PROVIDER_UNAVAILABLE', 'vonage-sms PROVIDER_UNAVAILABLE'],
    },
  ])
  expect(await history(app, signature?.id)).toEqual([
    'SIGNATURE_STARTED',
    'CHALLENGE_STARTED #1 twilio-sms',
    'CHALLENGE_FAILED #1 twilio-sms PROVIDER_UNAVAILABLE 20003 after 1',
    'CHALLENGE_STARTED #2 vonage-sms',
    'CHALLENGE_FAILED #2 vonage-sms PROVIDER_UNAVAILABLE forbidden after 1',
    'CHALLENGE_STARTED #3 twilio-voice',
    'CHALLENGE_SENT #3 twilio-voice after 1',
  ])
  await expectOnlyTheLastCodeSigns(app, signature?.id)
})

test('a vendor that asks for a longer wait than its part of the time is not waited for', async () => {
  app.sandbox.failNext({ provider: 'twilio-sms', status: 429, retryAfterSeconds: 8 })
  const startedMs = performance.now()

  const { signature, challenge } = await app.client.startSignature(startRequest())

  expect(performance.now() - startedMs).toBeLessThan(7_000)
  expect(challenge).toMatchObject({ provider: 'vonage-sms', status: ChallengeStatus.SENT })
  expect(await challengesOf(app, signature?.id)).toMatchObject([{ attempts: ['transient 20429'] }, { status: 'SENT' }])
})

test('a message that may have been sent is cancelled before the next one is made', async () => {
  app.sandbox.failNext(...times(4, { provider: 'twilio-sms', reset: true, sent: true } as const))

  const { signature, challenge } = await app.client.startSignature(startRequest())

  expect(challenge).toMatchObject({
    provider: 'vonage-sms',
    status: ChallengeStatus.SENT,
    passedOver: [{ provider: 'twilio-sms', channel: Channel.SMS, reason: PassReason.OUTCOME_UNKNOWN }],
  })
  expect(await challengesOf(app, signature?.id)).toMatchObject([
    {
      status: 'CANCELLED',
      delivery_status: 'UNKNOWN',
      failure_reason: null,
      attempts: times(4, 'unknown ECONNRESET'),
    },
    { status: 'SENT', delivery_status: 'ACCEPTED', passedOver: ['twilio-sms OUTCOME_UNKNOWN'] },
  ])
  expect(await history(app, signature?.id)).toEqual([
    'SIGNATURE_STARTED',
    'CHALLENGE_STARTED #1 twilio-sms',
    'CHALLENGE_OUTCOME_UNKNOWN #1 twilio-sms after 4',
    'CHALLENGE_CANCELLED #1 OUTCOME_UNKNOWN',
    'CHALLENGE_STARTED #2 vonage-sms',
    'CHALLENGE_SENT #2 vonage-sms after 1',
  ])
  await expectOnlyTheLastCodeSigns(app, signature?.id)
})

test('a vendor that said yes is the last one, though its answer proves nothing', async () => {
  app.sandbox.failNext({ provider: 'twilio-sms', body: '{"status":"queued"}', sent: true })

  const { signature, challenge } = await app.client.startSignature(startRequest())

  expect(challenge).toMatchObject({
    provider: 'twilio-sms',
    status: ChallengeStatus.PENDING,
    deliveryStatus: DeliveryStatus.UNKNOWN,
    passedOver: [],
  })
  expect(called(app)).toEqual(['twilio-sms'])
  expect(await history(app, signature?.id)).toEqual([
    'SIGNATURE_STARTED',
    'CHALLENGE_STARTED #1 twilio-sms',
    'CHALLENGE_OUTCOME_UNKNOWN #1 twilio-sms after 1',
  ])
  await expectOnlyTheLastCodeSigns(app, signature?.id)
})

test('a vendor that this replica has no credentials for is skipped', async () => {
  await using own = await startApp({ VONAGE_API_KEY: '', VONAGE_API_SECRET: '', VONAGE_FROM: '' })
  const { VONAGE_API_KEY = '', VONAGE_API_SECRET = '', VONAGE_FROM = '' } = app.env
  const complete = await own.replica({ VONAGE_API_KEY, VONAGE_API_SECRET, VONAGE_FROM })
  const version = await publish(complete, [route(10, { SMS: ['vonage-sms', 'twilio-sms'] })])
  await vi.waitFor(async () => expect(await own.metrics()).toContain(`routing_table_version ${version}\n`), 5_000)

  const { signature, challenge } = await own.client.startSignature(startRequest())

  expect(challenge).toMatchObject({
    provider: 'twilio-sms',
    status: ChallengeStatus.SENT,
    passedOver: [{ provider: 'vonage-sms', channel: Channel.SMS, reason: PassReason.NOT_CONFIGURED }],
  })
  expect(await history(own, signature?.id)).toEqual([
    'SIGNATURE_STARTED',
    'PROVIDER_PASSED_OVER vonage-sms NOT_CONFIGURED',
    'CHALLENGE_STARTED #1 twilio-sms',
    'CHALLENGE_SENT #1 twilio-sms after 1',
  ])
})

test('when every provider fails, the last failure is told, and told again', async () => {
  app.sandbox.failNext({ provider: 'twilio-sms', status: 401 }, ...times(4, { provider: 'vonage-sms', status: 503 }), {
    provider: 'twilio-voice',
    status: 400,
    code: 21214,
  })
  const request = startRequest()

  const error = await failure(app.client.startSignature(request))

  const { signature_id = '', challenge_id } = error.metadata
  const challenges = await challengesOf(app, signature_id)
  expect(error).toMatchObject({
    code: Code.FailedPrecondition,
    reason: 'DESTINATION_UNREACHABLE',
    metadata: { provider: 'twilio-voice', provider_error_code: '21214' },
  })
  expect(challenge_id).toBe(challenges.at(-1)?.id)
  expect(challenges).toMatchObject([
    { provider: 'twilio-sms', status: 'FAILED', failure_reason: 'PROVIDER_UNAVAILABLE', attempts: ['ours 20003'] },
    { provider: 'vonage-sms', status: 'FAILED', provider_error_code: '1030', attempts: times(4, 'transient 1030') },
    { provider: 'twilio-voice', status: 'FAILED', failure_reason: 'DESTINATION_UNREACHABLE' },
  ])
  expect(await row(app, 'signature', signature_id)).toMatchObject({ status: 'FAILED', completed_at: expect.any(Date) })
  expect(await history(app, signature_id)).toEqual([
    'SIGNATURE_STARTED',
    'CHALLENGE_STARTED #1 twilio-sms',
    'CHALLENGE_FAILED #1 twilio-sms PROVIDER_UNAVAILABLE 20003 after 1',
    'CHALLENGE_STARTED #2 vonage-sms',
    'CHALLENGE_FAILED #2 vonage-sms PROVIDER_UNAVAILABLE 1030 after 4',
    'CHALLENGE_STARTED #3 twilio-voice',
    'CHALLENGE_FAILED #3 twilio-voice DESTINATION_UNREACHABLE 21214 after 1',
    'SIGNATURE_FAILED #3 DESTINATION_UNREACHABLE 21214',
  ])
  expect(await failure(app.client.startSignature(request))).toEqual(error)
  expect(called(app)).toHaveLength(6)
  for (const code of codesTold(app)) {
    const late = await failure(
      app.client.completeSignature({ signatureId: signature_id, code, transaction: transaction() }),
    )
    expect(late).toMatchObject({ reason: 'DESTINATION_UNREACHABLE', metadata: error.metadata })
  }
})
