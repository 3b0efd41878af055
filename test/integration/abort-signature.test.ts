import { Code } from '@connectrpc/connect'
import { sql } from 'kysely'
import { NIL } from 'uuid'
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest'
import { AbortReason, SignatureStatus } from '../../gen/bank/signature/v1/signature_pb.ts'
import { type App, failure, row, start, startApp, startRequest, transaction, wrongCode } from '../support/app.ts'
import { challengeOf } from '../support/delivery-outcome.ts'
import { type HeldVendor, startHeldVendor } from '../support/held-vendor.ts'
import { called, challengesOf, history, times } from '../support/hops.ts'
import { publish, route } from '../support/routing.ts'

let app: App
let twilio: HeldVendor
/** Its Twilio answers when it is told to; Vonage comes behind. */
let held: Awaited<ReturnType<App['replica']>>
beforeAll(async () => {
  twilio = await startHeldVendor()
  app = await startApp({ DELIVERY_RETRIES: '0' })
  await publish(app, [route(10, { SMS: ['twilio-sms', 'vonage-sms'] })])
  held = await app.replica({ TWILIO_API_URL: twilio.url })
})
beforeEach(() => app.sandbox.clear())
afterAll(async () => {
  await app[Symbol.asyncDispose]()
  await twilio[Symbol.asyncDispose]()
})

test.each([
  ['USER_CANCELLED', AbortReason.USER_CANCELLED],
  ['FRAUD_DETECTED', AbortReason.FRAUD_DETECTED],
  ['OPERATOR', AbortReason.OPERATOR],
])('a signature is aborted because of %s, and its code signs nothing any more', async (name, reason) => {
  const { signatureId, challengeId, code } = await start(app)
  const { signature } = await app.client.abortSignature({ signatureId, reason })

  expect(signature).toMatchObject({ id: signatureId, status: SignatureStatus.ABORTED, completeTime: expect.anything() })
  expect(await row(app, 'signature', signatureId)).toMatchObject({ status: 'ABORTED', completed_at: expect.any(Date) })
  expect(await row(app, 'challenge', challengeId)).toMatchObject({ status: 'CANCELLED', failure_reason: null })
  const told = [
    'SIGNATURE_STARTED',
    'CHALLENGE_STARTED #1 twilio-sms',
    'CHALLENGE_SENT #1 twilio-sms after 1',
    `SIGNATURE_ABORTED ${name}`,
  ]
  expect(await history(app, signatureId)).toEqual(told)

  expect(await complete(signatureId, code)).toMatchObject({
    code: Code.FailedPrecondition,
    reason: 'SIGNATURE_ABORTED',
  })
  expect(await history(app, signatureId)).toEqual(told)
  expect(await row(app, 'challenge', challengeId)).toMatchObject({ status: 'CANCELLED' })
})

test('aborting again changes nothing and is OK, whatever the reason', async () => {
  const { signatureId } = await start(app)
  const first = await abort(signatureId, AbortReason.FRAUD_DETECTED)
  expect(await abort(signatureId, AbortReason.FRAUD_DETECTED)).toEqual(first)
  expect(await abort(signatureId, AbortReason.OPERATOR)).toEqual(first)
  expect((await history(app, signatureId)).slice(3)).toEqual(['SIGNATURE_ABORTED FRAUD_DETECTED'])
})

test('aborted 20 times at once, over two replicas, it is aborted once and counted once', async () => {
  const before = await aborted()
  const { signatureId } = await start(app)
  const answers = await Promise.all(
    Array.from({ length: 20 }, (_, n) =>
      (n % 2 ? app : held).client.abortSignature({ signatureId, reason: AbortReason.OPERATOR }),
    ),
  )
  expect(new Set(answers.map(({ signature }) => signature?.status))).toEqual(new Set([SignatureStatus.ABORTED]))
  expect((await history(app, signatureId)).slice(3)).toEqual(['SIGNATURE_ABORTED OPERATOR'])
  expect(await aborted()).toBe(before + 1)
})

test('a signature that was signed stays signed', async () => {
  const { signatureId, code } = await start(app)
  await complete(signatureId, code)
  await expectRefused(signatureId, Code.FailedPrecondition, 'SIGNATURE_ALREADY_SIGNED')
})

test('a signature that has failed stays failed, and the caller is told why', async () => {
  const exhausted = await start(app)
  for (const _ of times(3, null)) await complete(exhausted.signatureId, wrongCode(exhausted.code))
  await expectRefused(exhausted.signatureId, Code.FailedPrecondition, 'TRIES_EXHAUSTED')

  app.sandbox.failNext({ status: 503 }, { status: 503 })
  const undelivered = await failure(app.client.startSignature(startRequest()))
  await expectRefused(undelivered.metadata.signature_id, Code.Unavailable, 'PROVIDER_UNAVAILABLE')

  app.sandbox.clear()
  app.sandbox.failNext({ status: 400, code: 21614 })
  const unreachable = await failure(app.client.startSignature(startRequest()))
  await expectRefused(unreachable.metadata.signature_id, Code.FailedPrecondition, 'DESTINATION_UNREACHABLE')
})

test('a signature whose time is over is expired and not aborted, closed before or not', async () => {
  const { signatureId } = await start(app)
  await sql`UPDATE signature SET expires_at = clock_timestamp() WHERE id = ${signatureId}`.execute(app.db)
  expect(await failure(abort(signatureId))).toMatchObject({ reason: 'SIGNATURE_EXPIRED' })
  expect((await history(app, signatureId)).slice(3)).toEqual(['SIGNATURE_EXPIRED'])
  await expectRefused(signatureId, Code.FailedPrecondition, 'SIGNATURE_EXPIRED')
})

test('a signature that is unknown, or of another caller, is not found and not aborted', async () => {
  const { signatureId } = await start(app)
  await sql`UPDATE signature SET caller = 'another' WHERE id = ${signatureId}`.execute(app.db)
  for (const id of [NIL, signatureId]) {
    expect(await failure(abort(id))).toMatchObject({ code: Code.NotFound, reason: 'SIGNATURE_NOT_FOUND' })
  }
  expect(await row(app, 'signature', signatureId)).toMatchObject({ status: 'PENDING' })
})

test.each([AbortReason.UNSPECIFIED, 4 as AbortReason])('%i is no reason', async (reason) => {
  const { signatureId } = await start(app)
  const invalid = { code: Code.InvalidArgument, reason: 'INVALID_FIELD' }
  expect(await failure(abort(signatureId, reason))).toMatchObject({ ...invalid, fields: ['reason'] })
  const { fields } = await failure(abort('none', reason))
  expect(fields.toSorted()).toEqual(['reason', 'signature_id'])
  expect(await row(app, 'signature', signatureId)).toMatchObject({ status: 'PENDING' })
})

test.each([
  ['fails', 503, ['CHALLENGE_FAILED #1 twilio-sms PROVIDER_UNAVAILABLE HTTP_503 after 1']],
  ['ends unknown', 'reset', ['CHALLENGE_OUTCOME_UNKNOWN #1 twilio-sms after 1']],
] as const)(
  'a delivery that %s after its signature was aborted is recorded, and nobody else is called',
  async (_, end, told) => {
    const { starting, call, signatureId } = await startHeld()
    await abort(signatureId)
    if (end === 'reset') call.reset()
    else call.answer(end)
    expect(await starting).toMatchObject({ reason: 'SIGNATURE_ABORTED', metadata: { signature_id: signatureId } })

    expect(called(app)).toEqual([])
    expect(await challengesOf(app, signatureId)).toMatchObject([
      { status: 'CANCELLED', attempts: [expect.any(String)] },
    ])
    expect((await history(app, signatureId)).slice(2)).toEqual(['SIGNATURE_ABORTED OPERATOR', ...told])
    expect(await complete(signatureId, call.code)).toMatchObject({ reason: 'SIGNATURE_ABORTED' })
    expect(await row(app, 'signature', signatureId)).toMatchObject({ status: 'ABORTED' })
  },
)

test('a message that is sent after its signature was aborted is on record, and its code signs nothing', async () => {
  app.sandbox.failNext({ latencyMs: 500 })
  const calling = app.sandbox.nextCall()
  const request = startRequest()
  const starting = failure(app.client.startSignature(request))
  await calling
  const { signature_id: signatureId } = await challengeOf(app, request.idempotencyKey)
  await abort(signatureId)
  expect(await starting).toMatchObject({ reason: 'SIGNATURE_ABORTED', metadata: { signature_id: signatureId } })

  const [message] = app.sandbox.messages
  expect(await challengesOf(app, signatureId)).toMatchObject([
    {
      status: 'CANCELLED',
      delivery_status: 'ACCEPTED',
      provider_challenge_id: message?.sid,
      sent_at: expect.any(Date),
    },
  ])
  expect((await history(app, signatureId)).slice(2)).toEqual([
    'SIGNATURE_ABORTED OPERATOR',
    'CHALLENGE_SENT #1 twilio-sms after 1',
  ])
  const code = /\b\d{6}\b/.exec(message?.body ?? '')?.[0] ?? ''
  expect(await complete(signatureId, code)).toMatchObject({ reason: 'SIGNATURE_ABORTED' })
})

async function startHeld() {
  const request = startRequest()
  const starting = failure(held.client.startSignature(request))
  const call = await twilio.next()
  const { signature_id: signatureId } = await challengeOf(app, request.idempotencyKey)
  return { starting, call, signatureId }
}

function abort(signatureId: string, reason: AbortReason = AbortReason.OPERATOR) {
  return app.client.abortSignature({ signatureId, reason })
}

async function complete(signatureId: string, code: string) {
  const call = app.client.completeSignature({ signatureId, code, transaction: transaction() })
  return call.then(
    () => 'SIGNED' as const,
    (error) => failure(Promise.reject(error)),
  )
}

/** Expects that an abort is refused and changes nothing. */
async function expectRefused(signatureId = '', code: Code, reason: string): Promise<void> {
  const stands = async () => [
    await row(app, 'signature', signatureId),
    await challengesOf(app, signatureId),
    await history(app, signatureId),
    await aborted(),
  ]
  const before = await stands()
  expect(await failure(abort(signatureId))).toMatchObject({ code, reason })
  expect(await stands()).toEqual(before)
}

/** How many were aborted, as both replicas count. */
async function aborted(): Promise<number> {
  const pages = [await app.metrics(), await held.metrics()]
  const counts = pages.map((page) => /^signatures_total\{status="ABORTED"\} (\d+)$/m.exec(page)?.[1] ?? 0)
  return counts.reduce<number>((sum, count) => sum + Number(count), 0)
}
