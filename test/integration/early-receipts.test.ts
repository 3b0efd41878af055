import { afterAll, beforeAll, beforeEach, expect, test, vi } from 'vitest'
import { ChallengeStatus, DeliveryStatus, SignatureStatus } from '../../gen/bank/signature/v1/signature_pb.ts'
import { type App, codeIn, row, start, startApp, startRequest, timeline, transaction } from '../support/app.ts'
import { challengeOf } from '../support/delivery-outcome.ts'
import { challengesOf, codesTold } from '../support/hops.ts'
import { publish, route } from '../support/routing.ts'
import { forgetSend, keptReceipts, newSid, post, reported, twilioReceipt, vonageReceipt } from '../support/webhooks.ts'

let app: App
beforeAll(async () => {
  app = await startApp({ TWILIO_TIMEOUT_SECONDS: '0.7', DELIVERY_RETRIES: '0' })
  await publish(app, [
    route(20, { SMS: ['vonage-sms'] }, { customerSegment: 'VONAGE' }),
    route(30, { SMS: ['twilio-sms'] }),
  ])
})
beforeEach(() => app.sandbox.clear())
afterAll(() => app[Symbol.asyncDispose]())

async function sign(signatureId: string | undefined): Promise<SignatureStatus | undefined> {
  const [code = ''] = codesTold(app)
  const { signature } = await app.client.completeSignature({
    signatureId: signatureId ?? '',
    code,
    transaction: transaction(),
  })
  return signature?.status
}

test('a receipt that comes before the answer counts, and the answer lowers nothing', async () => {
  app.sandbox.failNext({
    receipts: [
      { status: 'sent', beforeAnswer: true },
      { status: 'delivered', beforeAnswer: true },
    ],
  })

  const { signature, challenge } = await app.client.startSignature(startRequest())

  const sid = app.sandbox.messages[0]?.sid
  expect(challenge).toMatchObject({
    status: ChallengeStatus.SENT,
    deliveryStatus: DeliveryStatus.DELIVERED,
    providerChallengeId: sid,
    deliveryReport: { vendorStatus: 'delivered' },
  })
  const [stored] = await challengesOf(app, signature?.id)
  expect(stored).toMatchObject({ status: 'SENT', receipt_due_at: null, attempts: ['sent'] })
  expect(stored?.provider_proof).toMatchObject({ httpStatus: 201 })
  expect(await timeline(app, signature?.id ?? '')).toEqual([
    'SIGNATURE_STARTED',
    'CHALLENGE_STARTED',
    'DELIVERY_REPORTED',
    'DELIVERY_REPORTED',
    'CHALLENGE_SENT',
  ])
  expect(await sign(signature?.id)).toBe(SignatureStatus.SIGNED)
})

test('a receipt finds its row while nothing of the send is written, and stands in for that', async () => {
  app.sandbox.failNext({ hang: true, sent: true, receipts: [{ status: 'sent', beforeAnswer: true }] })
  const request = startRequest()
  const starting = app.client.startSignature(request)
  expect(await reported(app, 1)).toEqual([['sent', 200]])

  const sid = app.sandbox.messages[0]?.sid
  const challenge = await challengeOf(app, request.idempotencyKey)
  expect(challenge).toMatchObject({
    status: 'SENT',
    provider_challenge_id: sid,
    delivery_status: 'SENT',
    sent_at: expect.any(Date),
    provider_proof: { vendorStatus: 'sent', receivedAt: expect.any(String) },
  })
  expect(await keptReceipts(app, challenge.id)).toMatchObject([
    { vendor_status: 'sent', signature: app.sandbox.receipts[0]?.headers['X-Twilio-Signature'] },
  ])

  const { signature } = await starting
  expect(await row(app, 'challenge', challenge.id)).toMatchObject({ status: 'SENT', delivery_status: 'SENT' })
  expect(await sign(signature?.id)).toBe(SignatureStatus.SIGNED)
})

test.each([
  ['its connection was cut', { reset: true }],
  ['it was answered with nonsense', { body: 'not json' }],
  ['it was never answered', { hang: true }],
] as const)('of a call that was sent though %s, receipts bring the SID', async (_, fault) => {
  app.sandbox.failNext({ ...fault, sent: true, receipts: [{ status: 'sent' }, { status: 'delivered' }] })
  const { signature, challenge } = await app.client.startSignature(startRequest())
  expect(await reported(app, 2)).toEqual([
    ['sent', 200],
    ['delivered', 200],
  ])
  expect((await app.client.getChallenge({ challengeId: challenge?.id ?? '' })).challenge).toMatchObject({
    status: ChallengeStatus.SENT,
    deliveryStatus: DeliveryStatus.DELIVERED,
    providerChallengeId: app.sandbox.messages[0]?.sid,
    sendTime: expect.anything(),
  })
  expect(await sign(signature?.id)).toBe(SignatureStatus.SIGNED)
})

test.each([
  ['queued', 'ACCEPTED'],
  ['sent', 'SENT'],
  ['delivered', 'DELIVERED'],
  ['undelivered', 'UNDELIVERED'],
  ['a-new-word', 'ACCEPTED'],
])('after a crash between answer and write, "%s" makes the row right', async (status, deliveryStatus) => {
  const { signatureId, challengeId } = await start(app)
  const sid = app.sandbox.messages[0]?.sid ?? ''
  await forgetSend(app, challengeId)
  expect(await row(app, 'challenge', challengeId)).toMatchObject({ status: 'PENDING', delivery_status: null })

  expect(await post(app, twilioReceipt(app, { challengeId, sid, status }))).toBe(200)

  expect(await row(app, 'challenge', challengeId)).toMatchObject({
    status: 'SENT',
    provider_challenge_id: sid,
    delivery_status: deliveryStatus,
    sent_at: expect.any(Date),
  })
  const { challenge } = await app.client.getChallenge({ challengeId })
  expect(challenge).toMatchObject({ status: ChallengeStatus.SENT, providerChallengeId: sid })
  expect(await sign(signatureId)).toBe(SignatureStatus.SIGNED)
})

test('after such a crash Vonage brings its id too', async () => {
  const { signature, challenge } = await app.client.startSignature(startRequest({ customerSegment: 'VONAGE' }))
  const { id: challengeId = '', providerChallengeId: sid = '' } = challenge ?? {}
  await forgetSend(app, challengeId)
  expect(await post(app, await vonageReceipt({ challengeId, sid, status: 'delivered' }))).toBe(200)
  expect(await row(app, 'challenge', challengeId)).toMatchObject({
    status: 'SENT',
    provider_challenge_id: sid,
    delivery_status: 'DELIVERED',
  })
  expect(await sign(signature?.id)).toBe(SignatureStatus.SIGNED)
})

test('a call that failed though it was sent leaves the word to the one that was answered', async () => {
  const replica = await app.replica({ DELIVERY_RETRIES: '1' })
  app.sandbox.failNext({ reset: true, sent: true, receipts: [] })
  const { challenge } = await replica.client.startSignature(startRequest())
  const [answered, failed] = app.sandbox.messages
  expect(challenge?.providerChallengeId).toBe(answered?.sid)
  const challengeId = challenge?.id ?? ''

  expect(await post(app, twilioReceipt(app, { challengeId, sid: failed?.sid ?? '', status: 'undelivered' }))).toBe(200)
  expect(await row(app, 'challenge', challengeId)).toMatchObject({ delivery_status: 'ACCEPTED', vendor_status: null })
  const second = { challengeId, attempt: 2, sid: answered?.sid ?? '', status: 'delivered' }
  expect(await post(app, twilioReceipt(app, second))).toBe(200)
  expect(await row(app, 'challenge', challengeId)).toMatchObject({ delivery_status: 'DELIVERED' })
  expect(await keptReceipts(app, challengeId)).toMatchObject([{ attempt: 1 }, { attempt: 2 }])
})

test('a receipt of a challenge that failed brings the SID and changes nothing else of its end', async () => {
  app.sandbox.failNext({ status: 500, sent: true, receipts: [] })
  const request = startRequest()
  await expect(app.client.startSignature(request)).rejects.toThrow()
  const { id: challengeId, ...challenge } = await challengeOf(app, request.idempotencyKey)
  expect(challenge).toMatchObject({ status: 'FAILED', provider_challenge_id: null })
  const sid = app.sandbox.messages[0]?.sid ?? newSid()
  expect(await post(app, twilioReceipt(app, { challengeId, sid, status: 'delivered' }))).toBe(200)
  expect(await row(app, 'challenge', challengeId)).toMatchObject({
    status: 'FAILED',
    failure_reason: 'PROVIDER_UNAVAILABLE',
    provider_challenge_id: sid,
    delivery_status: 'DELIVERED',
  })
  expect(codeIn(app.sandbox.messages[0]?.body)).toMatch(/^\d{6}$/)
})

test('a message that is reported before its call could be made again is not sent twice', async () => {
  app.sandbox.failNext({ reset: true, sent: true, receipts: [{ status: 'sent', beforeAnswer: true }] })
  const { challenge } = await app.client.startSignature(startRequest())
  expect(challenge).toMatchObject({
    status: ChallengeStatus.SENT,
    deliveryStatus: DeliveryStatus.SENT,
    providerChallengeId: app.sandbox.messages[0]?.sid,
  })
  expect(app.sandbox.calls).toHaveLength(1)
})

test('what is reported of a call that seemed to have failed is not held against the message that was taken', async () => {
  const { client } = await app.replica({ DELIVERY_RETRIES: '1' })
  app.sandbox.failNext(
    { reset: true, sent: true, receipts: [{ status: 'undelivered', errorCode: 30003, delayMs: 150 }] },
    // The first word comes while this call is under way.
    { latencyMs: 450, receipts: [{ status: 'delivered', delayMs: 300 }] },
  )

  const { challenge } = await client.startSignature(startRequest())

  expect(challenge).toMatchObject({ status: ChallengeStatus.SENT, deliveryStatus: DeliveryStatus.ACCEPTED })
  expect(challenge?.deliveryReport).toBeUndefined()
  expect(challenge?.providerChallengeId).toBe(app.sandbox.messages[0]?.sid)
  await vi.waitFor(async () => {
    const { challenge: now } = await app.client.getChallenge({ challengeId: challenge?.id ?? '' })
    expect(now).toMatchObject({
      deliveryStatus: DeliveryStatus.DELIVERED,
      deliveryReport: { vendorStatus: 'delivered' },
    })
  }, 5_000)
})
