import { randomUUID } from 'node:crypto'
import { Code } from '@connectrpc/connect'
import { sql } from 'kysely'
import { afterAll, beforeAll, beforeEach, expect, test, vi } from 'vitest'
import { type App, failure, start, startApp, startRequest } from '../support/app.ts'
import { attempts, challengeOf } from '../support/delivery-outcome.ts'

let app: App
beforeAll(async () => {
  app = await startApp()
})
beforeEach(() => app.sandbox.clear())
afterAll(() => app[Symbol.asyncDispose]())

/** A deadline that only the server knows of: the answer comes whatever the time. */
const deadline = (ms: number) => ({ headers: { 'grpc-timeout': `${ms}m` } })
const tooShort = { code: Code.DeadlineExceeded, reason: 'DEADLINE_TOO_SHORT' }

async function keys(): Promise<number> {
  return (await app.db.selectFrom('idempotency_key').select('key').execute()).length
}

test('a start or resend whose deadline leaves less than 200 ms stores and sends nothing, and its key stays unused', async () => {
  const { signatureId } = await start(app)
  await sql`UPDATE challenge SET created_at = created_at - interval '1 minute'`.execute(app.db)
  const before = await keys()
  const request = startRequest()
  const resend = { signatureId, idempotencyKey: randomUUID() }

  expect(await failure(app.client.startSignature(request, deadline(190)))).toMatchObject(tooShort)
  expect(await failure(app.client.resendChallenge(resend, deadline(190)))).toMatchObject(tooShort)
  expect(await keys()).toBe(before)
  expect(app.sandbox.calls).toHaveLength(1)

  await app.client.startSignature(request, { timeoutMs: 20_000 })
  await app.client.resendChallenge(resend, { timeoutMs: 20_000 })
  expect(app.sandbox.calls).toHaveLength(3)
})

test('when the deadline is nearly over before the first call, none is made', async () => {
  const request = startRequest()
  const held = Promise.withResolvers<void>()
  const release = Promise.withResolvers<void>()
  const holder = app.db.transaction().execute(async (trx) => {
    await sql`LOCK TABLE attempt IN EXCLUSIVE MODE`.execute(trx)
    held.resolve()
    await release.promise
  })
  await held.promise
  const answer = failure(app.client.startSignature(request, deadline(600)))
  await vi.waitFor(() => challengeOf(app, request.idempotencyKey))
  expect(await answer).toMatchObject({ code: Code.DeadlineExceeded })
  release.resolve()
  await holder

  await vi.waitFor(async () =>
    expect(await challengeOf(app, request.idempotencyKey)).toMatchObject({ status: 'FAILED', lease_expires_at: null }),
  )
  expect(app.sandbox.calls).toHaveLength(0)
  const { id } = await challengeOf(app, request.idempotencyKey)
  for (const { outcome } of await attempts(app, id)) expect(['transient', 'not_made']).toContain(outcome)
})
