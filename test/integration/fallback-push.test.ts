import { Code } from '@connectrpc/connect'
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest'
import { ChallengeStatus, Channel, PassReason, SignatureStatus } from '../../gen/bank/signature/v1/signature_pb.ts'
import { type App, failure, startApp, startRequest } from '../support/app.ts'
import { called, challengesOf, expectOnlyTheLastCodeSigns, history } from '../support/hops.ts'
import { publish, route } from '../support/routing.ts'

let app: App
beforeAll(async () => {
  app = await startApp()
  await publish(app, [
    route(10, { PUSH: ['fcm-push'] }, { customerSegment: 'PUSH_ONLY' }),
    route(20, { PUSH: ['fcm-push'], SMS: ['twilio-sms', 'vonage-sms'] }, { customerSegment: 'APP' }),
    route(40, { PUSH: ['fcm-push'], SMS: ['twilio-sms'] }),
  ])
})
beforeEach(() => app.sandbox.clear())
afterAll(() => app[Symbol.asyncDispose]())

test.each([
  { asked: 'by its segment', fields: { customerSegment: 'APP' }, priority: 20 },
  { asked: 'by asking for push', fields: { channel: Channel.PUSH }, priority: 40 },
])(
  'without a push token, a customer who is served $asked gets a text, and is told why',
  async ({ fields, priority }) => {
    const { signature, challenge } = await app.client.startSignature(startRequest(fields))

    expect(challenge).toMatchObject({
      provider: 'twilio-sms',
      channel: Channel.SMS,
      status: ChallengeStatus.SENT,
      routePriority: priority,
      passedOver: [{ provider: 'fcm-push', channel: Channel.PUSH, reason: PassReason.NO_PUSH_TOKEN }],
    })
    expect(called(app)).toEqual(['twilio-sms'])
    expect(await challengesOf(app, signature?.id)).toMatchObject([
      { provider: 'twilio-sms', status: 'SENT', passedOver: ['fcm-push NO_PUSH_TOKEN'] },
    ])
    expect(await history(app, signature?.id)).toEqual([
      'SIGNATURE_STARTED',
      'PROVIDER_PASSED_OVER fcm-push NO_PUSH_TOKEN',
      'CHALLENGE_STARTED #1 twilio-sms',
      'CHALLENGE_SENT #1 twilio-sms after 1',
    ])
  },
)

test('a customer whose app is gone gets a text', async () => {
  const request = startRequest({ channel: Channel.PUSH, pushToken: 'unregistered-token' })

  const { signature, challenge } = await app.client.startSignature(request)

  expect(challenge).toMatchObject({
    provider: 'twilio-sms',
    status: ChallengeStatus.SENT,
    passedOver: [{ provider: 'fcm-push', channel: Channel.PUSH, reason: PassReason.DESTINATION_UNREACHABLE }],
  })
  expect(called(app)).toEqual(['fcm-push', 'twilio-sms'])
  expect(await challengesOf(app, signature?.id)).toMatchObject([
    { provider: 'fcm-push', status: 'FAILED', attempts: ['recipient UNREGISTERED'] },
    { provider: 'twilio-sms', status: 'SENT', attempts: ['sent'] },
  ])
  expect(await history(app, signature?.id)).toEqual([
    'SIGNATURE_STARTED',
    'CHALLENGE_STARTED #1 fcm-push',
    'CHALLENGE_FAILED #1 fcm-push DESTINATION_UNREACHABLE UNREGISTERED after 1',
    'CHALLENGE_STARTED #2 twilio-sms',
    'CHALLENGE_SENT #2 twilio-sms after 1',
  ])
  await expectOnlyTheLastCodeSigns(app, signature?.id)
})

test('without a push token, a customer whom only push would serve can not be reached, and nothing is stored', async () => {
  const request = startRequest({ customerSegment: 'PUSH_ONLY' })

  const error = await failure(app.client.startSignature(request))

  expect(error).toMatchObject({
    code: Code.FailedPrecondition,
    reason: 'DESTINATION_UNREACHABLE',
    metadata: { provider: 'fcm-push', provider_error_code: 'NO_PUSH_TOKEN' },
  })
  expect(error.metadata).not.toHaveProperty('signature_id')
  const claim = app.db.selectFrom('idempotency_key').where('key', '=', String(request.idempotencyKey)).selectAll()
  expect(await claim.execute()).toEqual([])
  expect(called(app)).toEqual([])
  const { signature } = await app.client.startSignature({ ...request, pushToken: 'a-token' })
  expect(signature?.status).toBe(SignatureStatus.PENDING)
})
