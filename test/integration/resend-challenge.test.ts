import { randomUUID } from 'node:crypto'
import { Code } from '@connectrpc/connect'
import { sql } from 'kysely'
import { NIL } from 'uuid'
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest'
import {
  AbortReason,
  ChallengeStatus,
  Channel,
  Choice,
  type ResendChallengeRequestSchema,
  SignatureStatus,
} from '../../gen/bank/signature/v1/signature_pb.ts'
import { type App, failure, type Init, row, startApp, startRequest, transaction, wrongCode } from '../support/app.ts'
import { called, challengesOf, codeOf, codesTold, expectOnlyTheLastCodeSigns, history, times } from '../support/hops.ts'
import { publish, route } from '../support/routing.ts'

type Request = Init<typeof ResendChallengeRequestSchema>

let app: App
beforeAll(async () => {
  app = await startApp({ DELIVERY_RETRIES: '0' })
  await publish(app, [
    route(10, { SMS: ['twilio-sms', 'vonage-sms'] }, { channel: Channel.SMS }),
    route(20, { PUSH: ['fcm-push'] }, { channel: Channel.PUSH }),
    route(30, { VOICE: ['twilio-voice'] }, { channel: Channel.VOICE, customerSegment: 'BUSINESS' }),
    route(40, { SMS: ['twilio-sms'] }),
  ])
})
beforeEach(() => app.sandbox.clear())
afterAll(() => app[Symbol.asyncDispose]())

test('a resend sends a new code, and the one before is dead', async () => {
  const { signatureId, challengeId } = await started()
  const before = await row(app, 'signature', signatureId)

  const { signature, challenge } = await resend(signatureId)

  expect(signature).toMatchObject({ id: signatureId, status: SignatureStatus.PENDING })
  expect(challenge).toMatchObject({
    status: ChallengeStatus.SENT,
    provider: 'twilio-sms',
    choice: Choice.RESENT,
    triesRemaining: 3,
    expireTime: signature?.expireTime,
  })
  expect(signature?.challengeIds).toEqual([challengeId, challenge?.id])
  expect(await row(app, 'signature', signatureId)).toEqual(before)
  expect(await row(app, 'challenge', challengeId)).toMatchObject({ status: 'CANCELLED', failure_reason: null })
  expect(await row(app, 'challenge', String(challenge?.id))).toMatchObject({ expires_at: before?.expires_at })
  expect(await history(app, signatureId)).toEqual([
    'SIGNATURE_STARTED',
    'CHALLENGE_STARTED #1 twilio-sms',
    'CHALLENGE_SENT #1 twilio-sms after 1',
    'CHALLENGE_CANCELLED #1 RESENT',
    'CHALLENGE_STARTED #2 twilio-sms',
    'CHALLENGE_SENT #2 twilio-sms after 1',
  ])
  expect(codesTold(app)).toHaveLength(2)
  await expectOnlyTheLastCodeSigns(app, signatureId)
})

test('tries that were used stay used', async () => {
  const { signatureId, code } = await started()
  for (const _ of ['first', 'second']) await complete(signatureId, wrongCode(code))

  const { challenge } = await resend(signatureId)

  expect(challenge?.triesRemaining).toBe(1)
  expect(await complete(signatureId, code)).toMatchObject({
    reason: 'CODE_REJECTED',
    metadata: { tries_remaining: '0' },
  })
  expect(await complete(signatureId, codesTold(app)[1])).toMatchObject({ reason: 'TRIES_EXHAUSTED' })
})

test('a resend goes over the channel that it asks for', async () => {
  const pushToken = 'a-token'
  const { signatureId } = await started({ channel: Channel.SMS, pushToken })
  const { challenge } = await resend(signatureId, { channel: Channel.PUSH })

  expect(challenge).toMatchObject({
    channel: Channel.PUSH,
    provider: 'fcm-push',
    choice: Choice.RESENT,
    routePriority: 20,
  })
  expect(called(app)).toEqual(['twilio-sms', 'fcm-push'])
  expect(app.sandbox.calls[1]?.json).toMatchObject({ message: { token: pushToken } })
  await expectOnlyTheLastCodeSigns(app, signatureId)
})

test('a resend that asks for no channel goes by what the signature was started with', async () => {
  const { signatureId } = await started({ channel: Channel.PUSH, pushToken: 'a-token' })
  expect((await resend(signatureId)).challenge).toMatchObject({ channel: Channel.PUSH, choice: Choice.RESENT })
})

test('a phone call takes the place of a text message', async () => {
  const { signatureId } = await started({ channel: Channel.SMS, customerSegment: 'BUSINESS' })
  const { challenge } = await resend(signatureId, { channel: Channel.VOICE })
  expect(challenge).toMatchObject({ channel: Channel.VOICE, provider: 'twilio-voice', choice: Choice.RESENT })
  await expectOnlyTheLastCodeSigns(app, signatureId)
})

test.each([
  ['a channel without a row', Channel.VOICE, Code.FailedPrecondition, 'NO_ROUTE'],
  ['push without a token', Channel.PUSH, Code.FailedPrecondition, 'DESTINATION_UNREACHABLE'],
])('%s is refused, and the code before still signs', async (_, channel, code, reason) => {
  const { signatureId, code: first } = await started()
  await expectRefused(signatureId, { code, reason }, { channel })
  expect(await complete(signatureId, first)).toBe('SIGNED')
})

test('less than 30 s after the last code nothing is sent, and the caller is told how long to wait', async () => {
  const { signatureId, code } = await started({}, 18)
  const tooSoon = { code: Code.FailedPrecondition, reason: 'RESEND_TOO_SOON' }
  const { retryDelayMs } = await expectRefused(signatureId, tooSoon)
  expect(retryDelayMs).toBeGreaterThan(9_000)
  expect(retryDelayMs).toBeLessThanOrEqual(12_000)

  await passTime(signatureId, 12)
  await resend(signatureId)
  expect((await expectRefused(signatureId, tooSoon)).retryDelayMs).toBeGreaterThan(25_000)
  expect(await complete(signatureId, code)).toMatchObject({ reason: 'CODE_REJECTED' })
  expect(await complete(signatureId, codesTold(app).at(-1))).toBe('SIGNED')
})

test('codes are sent again three times and no more', async () => {
  const { signatureId } = await started()
  for (const _ of times(3, null)) {
    await resend(signatureId)
    await passTime(signatureId)
  }
  await expectRefused(signatureId, { code: Code.FailedPrecondition, reason: 'RESEND_LIMIT' })
  expect(called(app)).toHaveLength(4)
  expect(await complete(signatureId, codesTold(app).at(-1))).toBe('SIGNED')
})

test('nothing is sent again while the last try is being judged, which still may sign', async () => {
  const { signatureId, code } = await started()
  await sql`UPDATE challenge SET tries_used = 3 WHERE signature_id = ${signatureId}`.execute(app.db)
  await expectRefused(signatureId, { code: Code.FailedPrecondition, reason: 'TRIES_EXHAUSTED' })
  await sql`UPDATE challenge SET tries_used = 2 WHERE signature_id = ${signatureId}`.execute(app.db)
  expect(await complete(signatureId, code)).toBe('SIGNED')
})

test('the next code takes over how many tries there may be', async () => {
  const stricter = await app.replica({ CHALLENGE_MAX_TRIES: '1' })
  const { signatureId, code } = await started()
  for (const _ of ['first', 'second']) await complete(signatureId, wrongCode(code))
  const { challenge } = await stricter.client.resendChallenge({ signatureId, idempotencyKey: randomUUID() })
  expect(challenge?.triesRemaining).toBe(1)
  expect(await complete(signatureId, codesTold(app)[1])).toBe('SIGNED')
})

test('the same resend again gives the same answer and sends nothing', async () => {
  const { signatureId } = await started()
  const request = { idempotencyKey: randomUUID() }
  const first = await resend(signatureId, request)
  expect(await resend(signatureId, request)).toEqual(first)
  await passTime(signatureId)
  expect((await resend(signatureId, request)).challenge?.id).toBe(first.challenge?.id)
  expect(await complete(signatureId, codesTold(app)[1])).toBe('SIGNED')
  expect((await resend(signatureId, request)).signature?.status).toBe(SignatureStatus.SIGNED)
  expect(called(app)).toHaveLength(2)
})

test('of the same resend 20 times at once, over two replicas, one sends and the others wait for it', async () => {
  const other = await app.replica()
  const { signatureId } = await started()
  const request = { signatureId, idempotencyKey: randomUUID() }
  const answers = await Promise.allSettled(
    Array.from({ length: 20 }, (_, n) => (n % 2 ? app : other).client.resendChallenge(request)),
  )

  const ids = answers.flatMap((answer) => (answer.status === 'fulfilled' ? [answer.value.challenge?.id] : []))
  expect(new Set(ids).size).toBe(1)
  for (const answer of answers.filter(({ status }) => status === 'rejected')) {
    expect(await failure(Promise.reject((answer as PromiseRejectedResult).reason))).toMatchObject({
      code: Code.Aborted,
      reason: 'IDEMPOTENCY_IN_PROGRESS',
      retryDelayMs: 1_000,
    })
  }
  expect(called(app)).toHaveLength(2)
  expect((await app.client.resendChallenge(request)).challenge?.id).toBe(ids[0])
  expect((await challengesOf(app, signatureId)).map(({ status }) => status)).toEqual(['CANCELLED', 'SENT'])
})

test('a key that was used for another request is refused', async () => {
  const { signatureId, idempotencyKey: startKey } = await started()
  const other = await started()
  const idempotencyKey = randomUUID()
  await resend(signatureId, { idempotencyKey })
  await passTime(signatureId)

  const reused = { code: Code.FailedPrecondition, reason: 'IDEMPOTENCY_KEY_REUSED' }
  await expectRefused(other.signatureId, reused, { idempotencyKey })
  await expectRefused(signatureId, reused, { idempotencyKey, channel: Channel.SMS })
  await expectRefused(signatureId, reused, { idempotencyKey: startKey })
  expect(await failure(app.client.startSignature(startRequest({ idempotencyKey })))).toMatchObject(reused)
})

test('a signature that has ended gets no new code, and the caller is told how it ended', async () => {
  const signed = await started()
  await complete(signed.signatureId, signed.code)
  await expectRefused(signed.signatureId, { code: Code.FailedPrecondition, reason: 'SIGNATURE_ALREADY_SIGNED' })

  const aborted = await started()
  await app.client.abortSignature({ signatureId: aborted.signatureId, reason: AbortReason.OPERATOR })
  for (const channel of [Channel.UNSPECIFIED, Channel.VOICE]) {
    const reason = 'SIGNATURE_ABORTED'
    await expectRefused(aborted.signatureId, { code: Code.FailedPrecondition, reason }, { channel })
  }

  const exhausted = await started()
  for (const _ of times(3, null)) await complete(exhausted.signatureId, wrongCode(exhausted.code))
  await expectRefused(exhausted.signatureId, { code: Code.FailedPrecondition, reason: 'TRIES_EXHAUSTED' })

  const expired = await started()
  await sql`UPDATE signature SET expires_at = clock_timestamp() WHERE id = ${expired.signatureId}`.execute(app.db)
  await app.client.getSignature({ signatureId: expired.signatureId })
  await expectRefused(expired.signatureId, { code: Code.FailedPrecondition, reason: 'SIGNATURE_EXPIRED' })
})

test('a resend that is repeated after its signature was aborted is told so', async () => {
  const { signatureId } = await started()
  const request = { idempotencyKey: randomUUID() }
  await resend(signatureId, request)
  await app.client.abortSignature({ signatureId, reason: AbortReason.OPERATOR })
  expect(await failure(resend(signatureId, request))).toMatchObject({
    code: Code.FailedPrecondition,
    reason: 'SIGNATURE_ABORTED',
    metadata: { signature_id: signatureId },
  })
  expect(called(app)).toHaveLength(2)
})

test('a signature whose time is over is closed by the resend that it refuses', async () => {
  const { signatureId } = await started()
  await sql`UPDATE signature SET expires_at = clock_timestamp() WHERE id = ${signatureId}`.execute(app.db)
  expect(await failure(resend(signatureId))).toMatchObject({ reason: 'SIGNATURE_EXPIRED' })
  expect(await row(app, 'signature', signatureId)).toMatchObject({ status: 'EXPIRED' })
  expect(called(app)).toHaveLength(1)
})

test('a signature that is unknown, or of another caller, is not found', async () => {
  const { signatureId } = await started()
  await sql`UPDATE signature SET caller = 'another' WHERE id = ${signatureId}`.execute(app.db)
  for (const id of [NIL, signatureId]) {
    expect(await failure(resend(id))).toMatchObject({ code: Code.NotFound, reason: 'SIGNATURE_NOT_FOUND' })
  }
  expect(called(app)).toHaveLength(1)
})

test('wrong fields are told all at once', async () => {
  const wrong = { signatureId: 'none', idempotencyKey: '', channel: 99 as Channel }
  const fields = ['signature_id', 'idempotency_key', 'channel']
  expect(await failure(app.client.resendChallenge(wrong))).toMatchObject({
    code: Code.InvalidArgument,
    reason: 'INVALID_FIELD',
    fields,
  })
})

test('when the provider of a resend fails, the next one is tried, and it counts as one resend', async () => {
  const { signatureId } = await started({ channel: Channel.SMS })
  app.sandbox.failNext({ status: 503 })
  const { challenge } = await resend(signatureId)

  expect(challenge).toMatchObject({ provider: 'vonage-sms', choice: Choice.NEXT_PROVIDER, triesRemaining: 3 })
  expect(called(app)).toEqual(['twilio-sms', 'twilio-sms', 'vonage-sms'])
  const challenges = await challengesOf(app, signatureId)
  expect(challenges.map(({ status, choice }) => `${status} ${choice}`)).toEqual([
    'CANCELLED FIRST_IN_LINE',
    'FAILED RESENT',
    'SENT NEXT_PROVIDER',
  ])
  for (const _ of times(2, null)) {
    await passTime(signatureId)
    await resend(signatureId)
  }
  await passTime(signatureId)
  expect(await failure(resend(signatureId))).toMatchObject({ reason: 'RESEND_LIMIT' })
})

test('when every provider fails, so has the signature, and the same resend again is told the same', async () => {
  const { signatureId, code } = await started()
  const request = { idempotencyKey: randomUUID() }
  app.sandbox.failNext({ status: 503 })
  const told = await failure(resend(signatureId, request))

  expect(told).toMatchObject({
    code: Code.Unavailable,
    reason: 'PROVIDER_UNAVAILABLE',
    metadata: { signature_id: signatureId, provider: 'twilio-sms' },
  })
  expect(await failure(resend(signatureId, request))).toEqual(told)
  expect(await failure(resend(signatureId))).toMatchObject({ reason: 'PROVIDER_UNAVAILABLE' })
  expect(await complete(signatureId, code)).toMatchObject({ reason: 'PROVIDER_UNAVAILABLE' })
  expect(await row(app, 'signature', signatureId)).toMatchObject({ status: 'FAILED' })
  expect(called(app)).toHaveLength(2)
})

/** Starts a signature whose code was sent so many seconds ago. */
async function started(fields: ReturnType<typeof startRequest> = {}, secondsAgo = 31) {
  const request = startRequest(fields)
  const { signature, challenge } = await app.client.startSignature(request)
  const signatureId = signature?.id ?? ''
  await passTime(signatureId, secondsAgo)
  const code = codeOf(app.sandbox.calls.at(-1) ?? raise(), app.env)
  return { signatureId, challengeId: challenge?.id ?? '', code, idempotencyKey: request.idempotencyKey ?? '' }
}

function raise(): never {
  throw new Error('no call')
}

function resend(signatureId: string, fields: Request = {}) {
  return app.client.resendChallenge({ signatureId, idempotencyKey: randomUUID(), ...fields })
}

async function complete(signatureId: string, code = '') {
  const call = app.client.completeSignature({ signatureId, code, transaction: transaction() })
  return call.then(
    () => 'SIGNED' as const,
    (error) => failure(Promise.reject(error)),
  )
}

/** Expects that a resend is refused and leaves no trace. */
async function expectRefused(signatureId: string, expected: { code: Code; reason: string }, fields: Request = {}) {
  const traces = async () => [
    await row(app, 'signature', signatureId),
    await challengesOf(app, signatureId),
    await history(app, signatureId),
    (await app.db.selectFrom('idempotency_key').select('key').execute()).length,
    called(app),
  ]
  const before = await traces()
  const refused = await failure(resend(signatureId, fields))
  expect(refused).toMatchObject(expected)
  expect(await traces()).toEqual(before)
  return refused
}

/** Moves what was made for a signature so many seconds back. */
async function passTime(signatureId: string, seconds = 31): Promise<void> {
  await sql`
    UPDATE challenge SET created_at = created_at - make_interval(secs => ${seconds}) WHERE signature_id = ${signatureId}
  `.execute(app.db)
}
