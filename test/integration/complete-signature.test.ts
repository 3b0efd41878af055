import { Code } from '@connectrpc/connect'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { SignatureStatus } from '../../gen/bank/signature/v1/signature_pb.ts'
import { type App, failure, row, start, startApp, timeline, transaction, wrongCode } from '../support/app.ts'

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
  expect(await timeline(app, signatureId)).toEqual(['SIGNATURE_STARTED', 'CHALLENGE_SENT', 'SIGNATURE_SIGNED'])
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
