import { expect, vi } from 'vitest'
import { AbortReason, SignatureStatus } from '../../gen/bank/signature/v1/signature_pb.ts'
import { type App, failure, start, timeline, transaction, typeName, wrongCode } from './app.ts'
import { publish, route } from './routing.ts'

/** Uses every call that touches the database, and expects what its rows should say. */
export async function useWholeService(app: Omit<App, 'replica'>): Promise<void> {
  const { signature, signatureId, challengeId, code } = await start(app)
  const now = Date.now()
  expect(Math.abs(Number(signature.createTime?.seconds) * 1000 - now)).toBeLessThan(60_000)
  expect(Number(signature.expireTime?.seconds) - Number(signature.createTime?.seconds)).toBe(300)
  expect(signature.transaction?.amount).toMatchObject({ units: 125n, nanos: 500_000_000 })

  const leave = new AbortController()
  const told: string[] = []
  const watching = (async () => {
    for await (const { event } of app.client.watchSignature({ signatureId }, { signal: leave.signal })) {
      told.push(typeName(event?.type))
    }
  })()
  try {
    await vi.waitFor(() => expect(told).toHaveLength(3), 10_000)
    const wrong = { signatureId, code: wrongCode(code), transaction: transaction() }
    expect(await failure(app.client.completeSignature(wrong))).toMatchObject({
      reason: 'CODE_REJECTED',
      metadata: { tries_remaining: '2' },
    })
    const signed = await app.client.completeSignature({ signatureId, code, transaction: transaction() })
    expect(signed.signature?.status).toBe(SignatureStatus.SIGNED)
    await watching
  } finally {
    leave.abort()
    await watching.catch(() => {})
  }
  const story = ['STARTED', 'CHALLENGE_STARTED', 'CHALLENGE_SENT', 'CODE_REJECTED', 'SIGNED']
  expect(told).toEqual(story.map((each) => expect.stringContaining(each)))
  expect(await timeline(app, signatureId)).toEqual(told)
  expect((await app.client.getChallenge({ challengeId })).challenge?.signatureId).toBe(signatureId)

  const aborted = await start(app)
  await app.client.abortSignature({ signatureId: aborted.signatureId, reason: AbortReason.OPERATOR })
  const listed = await app.client.listSignatures({ customerId: 'customer-1', status: SignatureStatus.ABORTED })
  expect(listed.signatures.map(({ id }) => id)).toContain(aborted.signatureId)

  await publish(app, [route(10, { SMS: ['twilio-sms', 'vonage-sms'] })])
  expect((await start(app)).signature.status).toBe(SignatureStatus.PENDING)
  expect((await app.routing.listProviders({})).providers.length).toBeGreaterThan(0)
}
