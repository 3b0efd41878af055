import { timestampDate, timestampMs } from '@bufbuild/protobuf/wkt'
import { Code } from '@connectrpc/connect'
import { sql } from 'kysely'
import { v7 as uuidv7, version } from 'uuid'
import { afterAll, beforeAll, expect, test } from 'vitest'
import {
  ChallengeFailureReason,
  ChallengeStatus,
  Channel,
  DeliveryStatus,
} from '../../gen/bank/signature/v1/signature_pb.ts'
import { type App, failure, row, start, startApp, startRequest, transaction, wrongCode } from '../support/app.ts'

let app: App
beforeAll(async () => {
  app = await startApp()
})
afterAll(() => app[Symbol.asyncDispose]())

/** The challenge as it is shown; what is absent is undefined. */
async function get(challengeId: string) {
  const { challenge } = await app.client.getChallenge({ challengeId })
  if (!challenge) throw new Error('no challenge in the answer')
  return { sendTime: undefined, failure: undefined, ...challenge }
}

/** Starts a signature whose provider never answers. Disposing lets its caller give up. */
async function startHanging() {
  const caller = new AbortController()
  const called = app.sandbox.nextCall()
  app.sandbox.failNext({ hang: true })
  const answer = app.client.startSignature(startRequest(), { signal: caller.signal }).catch(() => {})
  await called
  const { id } = await app.db.selectFrom('challenge').orderBy('id', 'desc').select('id').executeTakeFirstOrThrow()
  return {
    challengeId: id,
    async [Symbol.asyncDispose]() {
      caller.abort()
      await answer
    },
  }
}

test('a sent challenge is shown whole, with all but the ends of the phone number hidden', async () => {
  const before = Date.now()
  const { signatureId, challengeId } = await start(app)

  const challenge = await get(challengeId)

  expect(challenge).toMatchObject({
    id: challengeId,
    signatureId,
    channel: Channel.SMS,
    provider: 'twilio-sms',
    status: ChallengeStatus.SENT,
    deliveryStatus: DeliveryStatus.ACCEPTED,
    providerChallengeId: app.sandbox.messages[0]?.sid,
    maskedPhoneNumber: '+34*****222',
    triesRemaining: 3,
    failure: undefined,
  })
  expect(version(challengeId)).toBe(7)
  const { createTime, sendTime, expireTime } = challenge
  if (!createTime || !sendTime || !expireTime) throw new Error('a time is missing')
  const times = [before, timestampMs(createTime), timestampMs(sendTime), Date.now()]
  expect(times).toEqual(times.toSorted((a, b) => a - b))
  expect(timestampMs(expireTime) - timestampMs(createTime)).toBe(300_000)
  expect(await row(app, 'challenge', challengeId)).toMatchObject({ sent_at: timestampDate(sendTime) })
})

test('a challenge that is being sent is pending, with nothing said of its delivery', async () => {
  await using started = await startHanging()

  expect(await get(started.challengeId)).toMatchObject({
    status: ChallengeStatus.PENDING,
    deliveryStatus: DeliveryStatus.UNSPECIFIED,
    providerChallengeId: '',
    triesRemaining: 3,
    sendTime: undefined,
    failure: undefined,
  })
})

test('a challenge that is still being sent when its lease is over has an unknown delivery', async () => {
  await using started = await startHanging()
  const { challengeId } = started
  await sql`UPDATE challenge SET lease_expires_at = clock_timestamp() WHERE id = ${challengeId}`.execute(app.db)

  expect(await get(challengeId)).toMatchObject({
    status: ChallengeStatus.PENDING,
    deliveryStatus: DeliveryStatus.UNKNOWN,
  })
})

test('a message that the provider took without proof leaves a pending challenge with an unknown delivery', async () => {
  app.sandbox.failNext({ body: 'not json' })
  const { challenge: started } = await app.client.startSignature(startRequest())

  expect(await get(started?.id ?? '')).toMatchObject({
    status: ChallengeStatus.PENDING,
    deliveryStatus: DeliveryStatus.UNKNOWN,
    providerChallengeId: '',
    sendTime: undefined,
  })
})

test('a wrong code leaves one try less, and the right one completes the challenge', async () => {
  const { signatureId, challengeId, code } = await start(app)
  const complete = (submitted: string) =>
    app.client.completeSignature({ signatureId, code: submitted, transaction: transaction() })

  await failure(complete(wrongCode(code)))
  expect(await get(challengeId)).toMatchObject({ status: ChallengeStatus.SENT, triesRemaining: 2 })

  await complete(code)
  expect(await get(challengeId)).toMatchObject({
    status: ChallengeStatus.COMPLETED,
    deliveryStatus: DeliveryStatus.ACCEPTED,
    triesRemaining: 1,
    failure: undefined,
  })
})

test('three wrong codes fail the challenge and say why', async () => {
  const { signatureId, challengeId, code } = await start(app)
  for (let n = 0; n < 3; n += 1) {
    await failure(app.client.completeSignature({ signatureId, code: wrongCode(code), transaction: transaction() }))
  }

  expect(await get(challengeId)).toMatchObject({
    status: ChallengeStatus.FAILED,
    triesRemaining: 0,
    failure: { reason: ChallengeFailureReason.TRIES_EXHAUSTED, providerErrorCode: '' },
  })
})

test("a challenge that could not be delivered names the reason and the provider's code", async () => {
  const { metadata } = await failure(app.client.startSignature(startRequest({ phoneNumber: '+15005550009' })))

  expect(await get(metadata.challenge_id ?? '')).toMatchObject({
    status: ChallengeStatus.FAILED,
    providerChallengeId: '',
    maskedPhoneNumber: '+1*****009',
    triesRemaining: 3,
    sendTime: undefined,
    failure: { reason: ChallengeFailureReason.DESTINATION_UNREACHABLE, providerErrorCode: '21614' },
  })
})

test('a challenge whose time is over is expired as soon as it is read', async () => {
  const { signatureId, challengeId } = await start(app)
  await sql`UPDATE challenge SET expires_at = clock_timestamp() WHERE id = ${challengeId}`.execute(app.db)
  await sql`UPDATE signature SET expires_at = clock_timestamp() WHERE id = ${signatureId}`.execute(app.db)

  expect(await get(challengeId)).toMatchObject({ status: ChallengeStatus.EXPIRED, failure: undefined })
  expect(await row(app, 'challenge', challengeId)).toMatchObject({ status: 'EXPIRED' })
  expect(await row(app, 'signature', signatureId)).toMatchObject({ status: 'EXPIRED' })
})

test('the challenge of an aborted signature is cancelled', async () => {
  const { signatureId, challengeId, code } = await start(app)
  const other = transaction({ payeeName: 'Another Ltd' })
  await failure(app.client.completeSignature({ signatureId, code, transaction: other }))

  expect(await get(challengeId)).toMatchObject({ status: ChallengeStatus.CANCELLED, failure: undefined })
})

test("an id that is unknown, a signature's or another caller's is not found", async () => {
  const { signatureId } = await start(app)
  const foreign = await start(app)
  await sql`UPDATE signature SET caller = 'another' WHERE id = ${foreign.signatureId}`.execute(app.db)

  for (const challengeId of [uuidv7(), signatureId, foreign.challengeId]) {
    expect(await failure(app.client.getChallenge({ challengeId }))).toMatchObject({
      code: Code.NotFound,
      reason: 'CHALLENGE_NOT_FOUND',
    })
  }
})
