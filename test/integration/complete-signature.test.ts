import { randomUUID } from 'node:crypto'
import { Code } from '@connectrpc/connect'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { SignatureStatus, TimelineEventType } from '../../gen/bank/signature/v1/signature_pb.ts'
import {
  type App,
  failure,
  row,
  start,
  startApp,
  startRequest,
  timeline,
  transaction,
  wrongCode,
} from '../support/app.ts'

let app: App
beforeAll(async () => {
  app = await startApp()
})
afterAll(() => app[Symbol.asyncDispose]())

test('the right code signs the transaction', async () => {
  const { signatureId, challengeId, code } = await start(app)

  const { signature } = await app.client.completeSignature({ signatureId, code, transaction: transaction() })

  expect(signature).toMatchObject({ id: signatureId, status: SignatureStatus.SIGNED })
  expect(signature?.completeTime).toBeDefined()
  expect(await row(app, 'signature', signatureId)).toMatchObject({ status: 'SIGNED' })
  expect(await row(app, 'challenge', challengeId)).toMatchObject({ status: 'COMPLETED', tries_used: 1 })
  expect(await timeline(app, signatureId)).toEqual([
    'SIGNATURE_STARTED',
    'CHALLENGE_STARTED',
    'CHALLENGE_SENT',
    'SIGNATURE_SIGNED',
  ])
})

test('a wrong code is refused with the tries that are left, and the right one still signs', async () => {
  const { signatureId, code } = await start(app)

  const refused = await failure(
    app.client.completeSignature({ signatureId, code: wrongCode(code), transaction: transaction() }),
  )
  expect(refused).toMatchObject({
    code: Code.FailedPrecondition,
    reason: 'CODE_REJECTED',
    metadata: { tries_remaining: '2' },
  })

  await app.client.completeSignature({ signatureId, code, transaction: transaction() })
  expect(await timeline(app, signatureId)).toEqual([
    'SIGNATURE_STARTED',
    'CHALLENGE_STARTED',
    'CHALLENGE_SENT',
    'CODE_REJECTED',
    'SIGNATURE_SIGNED',
  ])
})

test('the third wrong code fails the signature, and then even the right one is refused', async () => {
  const { signatureId, challengeId, code } = await start(app)
  const submit = (submitted: string) =>
    failure(app.client.completeSignature({ signatureId, code: submitted, transaction: transaction() }))

  for (const left of ['2', '1', '0']) {
    expect(await submit(wrongCode(code))).toMatchObject({
      reason: 'CODE_REJECTED',
      metadata: { tries_remaining: left },
    })
  }
  expect(await submit(code)).toMatchObject({ code: Code.FailedPrecondition, reason: 'TRIES_EXHAUSTED' })

  expect(await row(app, 'signature', signatureId)).toMatchObject({ status: 'FAILED' })
  expect(await row(app, 'challenge', challengeId)).toMatchObject({
    status: 'FAILED',
    failure_reason: 'TRIES_EXHAUSTED',
  })
})

test.each([
  ['amount', { amount: { currencyCode: 'EUR', units: 1125n, nanos: 500_000_000 } }],
  ['cents', { amount: { currencyCode: 'EUR', units: 125n, nanos: 510_000_000 } }],
  ['currency', { amount: { currencyCode: 'USD', units: 125n, nanos: 500_000_000 } }],
  ['payee', { payeeName: 'ACME Ltd.' }],
  ["payee's account", { payeeAccount: 'ES9121000418450200051333' }],
  ['type', { transactionType: 'SEPA_INSTANT_CREDIT_TRANSFER' }],
  ['reference', { reference: 'invoice 7' }],
])('the right code with another %s aborts the signature for good', async (_, changed) => {
  const { signatureId, challengeId, code } = await start(app)

  const mismatch = await failure(app.client.completeSignature({ signatureId, code, transaction: transaction(changed) }))
  expect(mismatch).toMatchObject({ code: Code.FailedPrecondition, reason: 'TRANSACTION_MISMATCH' })

  const afterwards = await failure(app.client.completeSignature({ signatureId, code, transaction: transaction() }))
  expect(afterwards).toMatchObject({ code: Code.FailedPrecondition, reason: 'SIGNATURE_ABORTED' })
  expect(await row(app, 'signature', signatureId)).toMatchObject({ status: 'ABORTED', completed_at: expect.any(Date) })
  expect(await row(app, 'challenge', challengeId)).toMatchObject({ status: 'CANCELLED', tries_used: 0 })
  const { signature } = await app.client.getSignature({ signatureId })
  expect(signature).toMatchObject({ status: SignatureStatus.ABORTED, transaction: transaction() })
  expect(signature?.timeline.at(-1)).toMatchObject({
    type: TimelineEventType.SIGNATURE_ABORTED,
    details: { reason: 'TRANSACTION_MISMATCH' },
  })
})

test.each([
  ['the same transaction', transaction()],
  ['another transaction', transaction({ payeeName: 'Someone else' })],
])('a signed signature stays signed when the code comes again with %s', async (_, again) => {
  const { signatureId, challengeId, code } = await start(app)
  const { signature: signed } = await app.client.completeSignature({ signatureId, code, transaction: transaction() })

  expect(await failure(app.client.completeSignature({ signatureId, code, transaction: again }))).toMatchObject({
    code: Code.FailedPrecondition,
    reason: 'SIGNATURE_ALREADY_SIGNED',
  })

  const { signature } = await app.client.getSignature({ signatureId })
  expect(signature).toMatchObject({ status: SignatureStatus.SIGNED, completeTime: signed?.completeTime })
  expect(await row(app, 'challenge', challengeId)).toMatchObject({ status: 'COMPLETED', tries_used: 1 })
  expect(await timeline(app, signatureId)).toEqual([
    'SIGNATURE_STARTED',
    'CHALLENGE_STARTED',
    'CHALLENGE_SENT',
    'SIGNATURE_SIGNED',
  ])
})

test.each([
  [Code.FailedPrecondition, 'DESTINATION_UNREACHABLE', { status: 400, code: 21614 }, '21614'],
  [Code.Unavailable, 'PROVIDER_UNAVAILABLE', { status: 401 }, '20003'],
])(
  'a code that was never delivered is refused with what became of the delivery: %s %s',
  async (code, reason, fault, providerCode) => {
    app.sandbox.failNext(fault)
    const { metadata } = await failure(app.client.startSignature(startRequest()))
    const signatureId = metadata.signature_id ?? ''

    expect(
      await failure(app.client.completeSignature({ signatureId, code: '000000', transaction: transaction() })),
    ).toMatchObject({ code, reason, metadata: { provider: 'twilio-sms', provider_error_code: providerCode } })

    expect(await row(app, 'signature', signatureId)).toMatchObject({ status: 'FAILED' })
    expect(await row(app, 'challenge', metadata.challenge_id ?? '')).toMatchObject({
      status: 'FAILED',
      failure_reason: reason,
      tries_used: 0,
    })
  },
)

test('a code for a signature that does not exist is not found', async () => {
  const call = app.client.completeSignature({
    signatureId: randomUUID(),
    code: '123456',
    transaction: transaction(),
  })
  expect(await failure(call)).toMatchObject({ code: Code.NotFound, reason: 'SIGNATURE_NOT_FOUND' })
})

test("one signature's code is wrong for another of the same transaction", async () => {
  const [first, second] = [await start(app), await start(app)]
  // One pair in a million shares its code.
  if (first.code === second.code) return

  const refused = await failure(
    app.client.completeSignature({ signatureId: second.signatureId, code: first.code, transaction: transaction() }),
  )
  expect(refused).toMatchObject({ reason: 'CODE_REJECTED' })
  expect(await row(app, 'signature', first.signatureId)).toMatchObject({ status: 'PENDING' })
})
