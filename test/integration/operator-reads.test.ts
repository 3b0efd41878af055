import { Code } from '@connectrpc/connect'
import pg from 'pg'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { type App, failure, start, startApp } from '../support/app.ts'

let app: App
beforeAll(async () => {
  app = await startApp()
})
afterAll(() => app[Symbol.asyncDispose]())

test('lists have connections and a time limit of their own, and callers are served while they hang', async () => {
  const { signatureId } = await start(app)
  const other = new pg.Client(app.env.DATABASE_URL)
  await other.connect()
  // What only a list by provider reads.
  await other.query('BEGIN')
  await other.query('LOCK TABLE signature_provider')

  const ends: string[] = []
  const tooLong = Promise.withResolvers<void>()
  const list = () => app.client.listSignatures({ provider: 'twilio-sms' })
  const lists = Array.from({ length: 40 }, async () => {
    const end = await list().catch((error) => failure(Promise.reject(error)))
    if ('signatures' in end) return
    expect(end).toMatchObject({ code: Code.Unavailable, reason: 'OVERLOADED', retryDelayMs: 1_000 })
    ends.push(end.message)
    if (end.message.includes('took too long')) tooLong.resolve()
  })
  await app.client.getSignature({ signatureId })
  await tooLong.promise
  expect(await app.metrics()).toContain('database_pool_connections{state="waiting"} 0')
  // At once, without a wait for those that hang.
  expect(ends[0]).toBe('too many lists at once')

  await other.end()
  await Promise.all(lists)
  expect((await list()).signatures).toHaveLength(1)
})
