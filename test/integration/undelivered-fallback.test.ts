import { randomUUID } from 'node:crypto'
import { sql } from 'kysely'
import { afterAll, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest'
import {
  ChallengeStatus,
  Channel,
  DeliveryStatus,
  PassReason,
  SignatureStatus,
} from '../../gen/bank/signature/v1/signature_pb.ts'
import { type App, failure, startApp, startRequest, transaction, wrongCode } from '../support/app.ts'
import { called, challengesOf, codesTold, expectOnlyTheLastCodeSigns, history } from '../support/hops.ts'
import { publish, route } from '../support/routing.ts'
import { post, twilioReceipt, type Webhook } from '../support/webhooks.ts'

const FALLBACK = { fallbackOnUndelivered: true }

let app: App
beforeAll(async () => {
  app = await startApp({ DELIVERY_RETRIES: '0', VONAGE_TIMEOUT_SECONDS: '1' })
  await publish(app, [
    route(10, { SMS: ['twilio-sms', 'vonage-sms'] }, { customerSegment: 'WITHOUT' }),
    route(20, { SMS: ['twilio-sms'] }, { customerSegment: 'LAST' }, FALLBACK),
    route(30, { PUSH: ['fcm-push'], SMS: ['twilio-sms', 'vonage-sms'], VOICE: ['twilio-voice'] }, {}, FALLBACK),
  ])
})
beforeEach(() => app.sandbox.clear())
afterAll(() => app[Symbol.asyncDispose]())

/** Starts a signature whose text goes over Twilio, with the receipt that tells that it did not arrive. */
async function startUndelivered(customerSegment = '', on: Pick<App, 'client' | 'server'> = app) {
  const { signature, challenge } = await on.client.startSignature(startRequest({ customerSegment }))
  const { id: challengeId = '', providerChallengeId: sid = '' } = challenge ?? {}
  const told = { challengeId, sid, status: 'undelivered', errorCode: '30003' }
  const [code = ''] = codesTold(app)
  return { signatureId: signature?.id ?? '', challengeId, sid, code, receipt: twilioReceipt(on, told) }
}

/** Once the challenge that was made last is as told. */
async function lastIs(signatureId: string, challenge: object): Promise<void> {
  await vi.waitFor(async () => expect((await challengesOf(app, signatureId)).at(-1)).toMatchObject(challenge), 10_000)
}

/** Tells a replica of its own, and waits until that has done all that it set off. */
async function tellAndSettle(make: (replica: Omit<App, 'replica'>) => Webhook): Promise<void> {
  await using replica = await app.replica()
  expect(await post(replica, make(replica))).toBe(200)
}

function complete(signatureId: string, code: string) {
  return app.client.completeSignature({ signatureId, code, transaction: transaction() })
}

describe('a message that did not arrive', () => {
  test('makes way for the next provider with a new code, and the old one is dead', async () => {
    const { signatureId, receipt } = await startUndelivered()
    const line = 'challenge_fallbacks_total{from="twilio-sms",to="vonage-sms",reason="UNDELIVERED"}'
    expect(await app.metrics()).not.toContain(line)

    expect(await post(app, receipt)).toBe(200)

    await lastIs(signatureId, { provider: 'vonage-sms', status: 'SENT' })
    const [first, second, ...others] = await challengesOf(app, signatureId)
    expect(others).toEqual([])
    expect(first).toMatchObject({ status: 'CANCELLED', delivery_status: 'UNDELIVERED', failure_reason: null })
    expect(second).toMatchObject({
      route: { priority: 30 },
      choice: 'NEXT_PROVIDER',
      passedOver: ['fcm-push NO_PUSH_TOKEN', 'twilio-sms UNDELIVERED'],
      attempts: ['sent'],
      expires_at: first?.expires_at,
    })
    expect(await history(app, signatureId)).toEqual([
      'SIGNATURE_STARTED',
      'PROVIDER_PASSED_OVER fcm-push NO_PUSH_TOKEN',
      'CHALLENGE_STARTED #1 twilio-sms',
      'CHALLENGE_SENT #1 twilio-sms after 1',
      'DELIVERY_REPORTED #1 30003',
      'CHALLENGE_CANCELLED #1 UNDELIVERED',
      'CHALLENGE_STARTED #2 vonage-sms',
      'CHALLENGE_SENT #2 vonage-sms after 1',
    ])
    expect(await app.metrics()).toContain(`${line} 1`)
    const { challenge } = await app.client.getChallenge({ challengeId: second?.id ?? '' })
    expect(challenge?.passedOver.at(-1)).toMatchObject({
      provider: 'twilio-sms',
      channel: Channel.SMS,
      reason: PassReason.UNDELIVERED,
    })
    await expectOnlyTheLastCodeSigns(app, signatureId)
  })

  test('goes on to the next channel when it was the last provider of its own', async () => {
    app.sandbox.failNext({ provider: 'vonage-sms', status: 403 })
    const { signatureId, receipt } = await startUndelivered()
    await post(app, receipt)
    await lastIs(signatureId, { provider: 'twilio-voice', status: 'SENT', choice: 'NEXT_CHANNEL' })
    expect((await challengesOf(app, signatureId)).map(({ provider, status }) => [provider, status])).toEqual([
      ['twilio-sms', 'CANCELLED'],
      ['vonage-sms', 'FAILED'],
      ['twilio-voice', 'SENT'],
    ])
    await expectOnlyTheLastCodeSigns(app, signatureId)
  })

  test('takes the tries that were used along', async () => {
    const { signatureId, code, receipt } = await startUndelivered()
    for (const _ of ['first', 'second']) await failure(complete(signatureId, wrongCode(code)))
    await post(app, receipt)
    await lastIs(signatureId, { provider: 'vonage-sms', tries_used: 2, max_tries: 3 })
    expect(await failure(complete(signatureId, code))).toMatchObject({ metadata: { tries_remaining: '0' } })
    expect(await failure(complete(signatureId, codesTold(app).at(-1) ?? ''))).toMatchObject({
      reason: 'TRIES_EXHAUSTED',
    })
  })

  test('is answered at once, while the next provider takes its time', async () => {
    const { signatureId, receipt } = await startUndelivered()
    app.sandbox.failNext({ provider: 'vonage-sms', hang: true })
    const next = app.sandbox.nextCall()
    expect(await post(app, receipt)).toBe(200)
    await next
    expect((await challengesOf(app, signatureId)).at(-1)).toMatchObject({ status: 'PENDING', delivery_status: null })
    await lastIs(signatureId, { provider: 'twilio-voice', status: 'SENT' })
    expect((await challengesOf(app, signatureId))[1]).toMatchObject({
      status: 'CANCELLED',
      attempts: ['unknown TIMEOUT'],
    })
  })

  test.each([
    ['the same receipt', ['undelivered', 'undelivered', 'undelivered', 'undelivered']],
    ['different receipts', ['failed', 'undelivered', 'failed', 'canceled']],
  ])('is followed by one fallback, though two replicas get %s at once', async (_, statuses) => {
    const replica = await app.replica()
    for (let round = 0; round < 5; round++) {
      app.sandbox.clear()
      const { signatureId, challengeId, sid } = await startUndelivered()
      const posts = statuses.map((status, index) => {
        const on = index % 2 === 0 ? app : replica
        return post(on, twilioReceipt(on, { challengeId, sid, status }))
      })
      expect(await Promise.all(posts)).toEqual([200, 200, 200, 200])
      await lastIs(signatureId, { provider: 'vonage-sms', status: 'SENT' })
      expect(called(app)).toEqual(['twilio-sms', 'vonage-sms'])
      expect(await challengesOf(app, signatureId)).toHaveLength(2)
    }
  })

  test('either is signed or makes way, when both happen at once', async () => {
    for (let round = 0; round < 8; round++) {
      app.sandbox.clear()
      const { signatureId, code, receipt } = await startUndelivered()
      const [signed] = await Promise.allSettled([complete(signatureId, code), post(app, receipt)])
      if (signed.status === 'fulfilled') {
        expect((await challengesOf(app, signatureId)).map(({ status }) => status)).toEqual(['COMPLETED'])
      } else {
        await lastIs(signatureId, { provider: 'vonage-sms', status: 'SENT' })
        expect((await complete(signatureId, codesTold(app).at(-1) ?? '')).signature?.status).toBe(
          SignatureStatus.SIGNED,
        )
      }
    }
  })
})

describe('it makes way for nobody', () => {
  test.each([
    ['the route does not say so', 'WITHOUT', async () => {}, 'SENT'],
    ['no provider is left', 'LAST', async () => {}, 'SENT'],
    ['it was signed', '', (id: string, code: string) => complete(id, code), 'COMPLETED'],
    [
      'it was aborted',
      '',
      (id: string, code: string) =>
        failure(
          app.client.completeSignature({ signatureId: id, code, transaction: { ...transaction(), payeeName: 'X' } }),
        ),
      'CANCELLED',
    ],
    [
      'its last try is being judged',
      '',
      (id: string) => sql`UPDATE challenge SET tries_used = 3 WHERE signature_id = ${id}`.execute(app.db),
      'SENT',
    ],
    [
      'its time is over',
      '',
      (id: string) => sql`UPDATE signature SET expires_at = clock_timestamp() WHERE id = ${id}`.execute(app.db),
      'EXPIRED',
    ],
  ] as const)('when %s', async (_, segment, before, status) => {
    const { signatureId, challengeId, sid, code } = await startUndelivered(segment)
    await before(signatureId, code)
    await tellAndSettle((replica) => twilioReceipt(replica, { challengeId, sid, status: 'undelivered' }))
    expect(await challengesOf(app, signatureId)).toMatchObject([{ status, delivery_status: 'UNDELIVERED' }])
    expect(called(app)).toEqual(['twilio-sms'])
    expect(await history(app, signatureId)).not.toContain('CHALLENGE_CANCELLED #1 UNDELIVERED')
  })

  test('and its code still signs when no provider is left', async () => {
    const { signatureId, challengeId, sid, code } = await startUndelivered('LAST')
    await tellAndSettle((replica) => twilioReceipt(replica, { challengeId, sid, status: 'failed' }))
    expect((await complete(signatureId, code)).signature?.status).toBe(SignatureStatus.SIGNED)
  })

  test('when it was delivered, and a bad word comes after that', async () => {
    const { signatureId, challengeId, sid, code } = await startUndelivered()
    for (const status of ['delivered', 'undelivered', 'failed']) {
      await tellAndSettle((replica) => twilioReceipt(replica, { challengeId, sid, status }))
    }
    expect(await challengesOf(app, signatureId)).toMatchObject([
      { status: 'SENT', delivery_status: 'DELIVERED', vendor_status: 'delivered' },
    ])
    expect(called(app)).toEqual(['twilio-sms'])
    expect((await complete(signatureId, code)).signature?.status).toBe(SignatureStatus.SIGNED)
  })

  test('when it has made way before', async () => {
    const { signatureId, challengeId, sid, receipt } = await startUndelivered()
    await post(app, receipt)
    await lastIs(signatureId, { provider: 'vonage-sms', status: 'SENT' })
    for (const errorCode of ['30003', '30009']) {
      const told = { challengeId, sid, status: 'undelivered', errorCode }
      await tellAndSettle((replica) => twilioReceipt(replica, told))
    }
    expect(called(app)).toEqual(['twilio-sms', 'vonage-sms'])
  })
})

test('a service that stops cuts the next delivery off, and what may have been sent is recorded', async () => {
  const { signatureId, challengeId, sid } = await startUndelivered()
  let startedMs = 0
  {
    await using replica = await app.replica({ VONAGE_TIMEOUT_SECONDS: '30', DELIVERY_BUDGET_SECONDS: '60' })
    app.sandbox.failNext({ provider: 'vonage-sms', hang: true, sent: true, receipts: [] })
    const next = app.sandbox.nextCall()
    await post(replica, twilioReceipt(replica, { challengeId, sid, status: 'undelivered' }))
    await next
    startedMs = performance.now()
  }
  expect(performance.now() - startedMs).toBeLessThan(5_000)
  const [, second, ...others] = await challengesOf(app, signatureId)
  expect(others).toEqual([])
  expect(second).toMatchObject({ provider: 'vonage-sms', status: 'PENDING', delivery_status: 'UNKNOWN' })
  expect(second?.attempts).toHaveLength(1)
  const { challenge } = await app.client.getChallenge({ challengeId: second?.id ?? '' })
  expect(challenge).toMatchObject({ status: ChallengeStatus.PENDING, deliveryStatus: DeliveryStatus.UNKNOWN })
  expect((await complete(signatureId, codesTold(app).at(-1) ?? '')).signature?.status).toBe(SignatureStatus.SIGNED)
})

test('a fallback counts for when a code may be sent again, and not for how often', async () => {
  const { signatureId, receipt } = await startUndelivered()
  const resend = () => app.client.resendChallenge({ signatureId, idempotencyKey: randomUUID() })
  const passTime = () =>
    sql`UPDATE challenge SET created_at = created_at - interval '31 s' WHERE signature_id = ${signatureId}`.execute(
      app.db,
    )
  await passTime()
  await post(app, receipt)
  await lastIs(signatureId, { provider: 'vonage-sms', status: 'SENT' })
  expect(await failure(resend())).toMatchObject({ reason: 'RESEND_TOO_SOON' })
  for (const _ of ['first', 'second', 'third']) {
    await passTime()
    await resend()
  }
  await passTime()
  expect(await failure(resend())).toMatchObject({ reason: 'RESEND_LIMIT' })
})
