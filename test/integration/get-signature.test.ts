import { timestampMs } from '@bufbuild/protobuf/wkt'
import { Code } from '@connectrpc/connect'
import { sql } from 'kysely'
import { v7 as uuidv7, version } from 'uuid'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { SignatureStatus, TimelineEventType } from '../../gen/bank/signature/v1/signature_pb.ts'
import { type App, failure, row, start, startApp, startRequest, transaction, wrongCode } from '../support/app.ts'

let app: App
beforeAll(async () => {
  app = await startApp()
})
afterAll(() => app[Symbol.asyncDispose]())

/** The signature as it is shown; what is absent is undefined. */
async function get(signatureId: string) {
  const { signature } = await app.client.getSignature({ signatureId })
  if (!signature) throw new Error('no signature in the answer')
  return { completeTime: undefined, ...signature }
}

test('a signature is shown whole, and its timeline tells the route and the message', async () => {
  const { signatureId, challengeId } = await start(app)

  const { createTime, expireTime, timeline, ...signature } = await get(signatureId)

  expect(signature).toMatchObject({
    id: signatureId,
    status: SignatureStatus.PENDING,
    transaction: transaction(),
    challengeIds: [challengeId],
    completeTime: undefined,
  })
  expect(version(signatureId)).toBe(7)
  if (!createTime || !expireTime) throw new Error('a time is missing')
  expect(timestampMs(expireTime) - timestampMs(createTime)).toBe(300_000)
  expect(timeline).toMatchObject([
    {
      position: 1,
      type: TimelineEventType.SIGNATURE_STARTED,
      challengeId: '',
      details: { route: '1000', routing_table_version: '1' },
    },
    {
      position: 2,
      type: TimelineEventType.CHALLENGE_STARTED,
      challengeId,
      details: { channel: 'SMS', provider: 'twilio-sms' },
    },
    {
      position: 3,
      type: TimelineEventType.CHALLENGE_SENT,
      challengeId,
      details: { provider: 'twilio-sms', attempts: '1', provider_challenge_id: app.sandbox.messages[0]?.sid },
    },
  ])
  const times = [createTime, ...timeline.map(({ time }) => time ?? expireTime), expireTime].map(timestampMs)
  expect(times).toEqual(times.toSorted((a, b) => a - b))
})

test('only GetSignature shows the timeline', async () => {
  const { signature, signatureId, code } = await start(app)
  const completed = await app.client.completeSignature({ signatureId, code, transaction: transaction() })

  expect(signature.timeline).toEqual([])
  expect(completed.signature?.timeline).toEqual([])
  expect((await get(signatureId)).timeline).not.toEqual([])
})

test('a signed signature has the time of its signing and every step that led there', async () => {
  const { signatureId, challengeId, code } = await start(app)
  const complete = (submitted: string) =>
    app.client.completeSignature({ signatureId, code: submitted, transaction: transaction() })
  await failure(complete(wrongCode(code)))
  await complete(code)

  const { status, completeTime, timeline } = await get(signatureId)

  expect(status).toBe(SignatureStatus.SIGNED)
  expect(timeline).toMatchObject([
    { position: 1, type: TimelineEventType.SIGNATURE_STARTED },
    { position: 2, type: TimelineEventType.CHALLENGE_STARTED },
    { position: 3, type: TimelineEventType.CHALLENGE_SENT },
    { position: 4, type: TimelineEventType.CODE_REJECTED, challengeId, details: { try: '1', tries_remaining: '2' } },
    { position: 5, type: TimelineEventType.SIGNATURE_SIGNED, challengeId, details: {} },
  ])
  const signedAt = timeline[4]?.time
  if (!completeTime || !signedAt) throw new Error('a time is missing')
  expect(Math.abs(timestampMs(completeTime) - timestampMs(signedAt))).toBeLessThan(10_000)
})

test('a signature whose code could not be delivered has failed, with the reason in its timeline', async () => {
  const { metadata } = await failure(app.client.startSignature(startRequest({ phoneNumber: '+15005550009' })))
  const { signature_id: signatureId = '', challenge_id: challengeId } = metadata

  const signature = await get(signatureId)

  const reason = { reason: 'DESTINATION_UNREACHABLE', provider_error_code: '21614' }
  expect(signature).toMatchObject({ status: SignatureStatus.FAILED, completeTime: expect.anything() })
  expect(signature.timeline).toMatchObject([
    { type: TimelineEventType.SIGNATURE_STARTED },
    { type: TimelineEventType.CHALLENGE_STARTED },
    {
      type: TimelineEventType.CHALLENGE_FAILED,
      challengeId,
      details: { provider: 'twilio-sms', attempts: '1', ...reason },
    },
    { type: TimelineEventType.SIGNATURE_FAILED, challengeId, details: reason },
  ])
})

test('a signature whose time is over is expired as soon as it is read', async () => {
  const { signatureId, challengeId } = await start(app)
  await sql`UPDATE challenge SET expires_at = clock_timestamp() WHERE id = ${challengeId}`.execute(app.db)
  await sql`UPDATE signature SET expires_at = clock_timestamp() WHERE id = ${signatureId}`.execute(app.db)

  const signature = await get(signatureId)

  expect(signature).toMatchObject({ status: SignatureStatus.EXPIRED, completeTime: expect.anything() })
  expect(signature.timeline.at(-1)).toMatchObject({
    position: 4,
    type: TimelineEventType.SIGNATURE_EXPIRED,
    challengeId: '',
  })
  expect(await row(app, 'signature', signatureId)).toMatchObject({ status: 'EXPIRED' })
  expect((await get(signatureId)).timeline).toEqual(signature.timeline)
})

test('an aborted signature says what aborted it, and still shows the transaction that was started', async () => {
  const { signatureId, code } = await start(app)
  const other = transaction({ payeeName: 'Another Ltd' })
  await failure(app.client.completeSignature({ signatureId, code, transaction: other }))

  const signature = await get(signatureId)

  expect(signature).toMatchObject({
    status: SignatureStatus.ABORTED,
    transaction: transaction(),
    completeTime: expect.anything(),
  })
  expect(signature.timeline.at(-1)).toMatchObject({
    position: 4,
    type: TimelineEventType.SIGNATURE_ABORTED,
    challengeId: '',
    details: { reason: 'TRANSACTION_MISMATCH' },
  })
})

test("an id that is unknown, a challenge's or another caller's is not found", async () => {
  const { challengeId } = await start(app)
  const foreign = await start(app)
  await sql`UPDATE signature SET caller = 'another' WHERE id = ${foreign.signatureId}`.execute(app.db)

  for (const signatureId of [uuidv7(), challengeId, foreign.signatureId]) {
    expect(await failure(app.client.getSignature({ signatureId }))).toMatchObject({
      code: Code.NotFound,
      reason: 'SIGNATURE_NOT_FOUND',
    })
  }
})
