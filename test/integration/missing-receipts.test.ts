import { sql } from 'kysely'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { takeMissingReceipts } from '../../src/db/receipts.ts'
import { type App, row, start, startApp, startRequest } from '../support/app.ts'
import { challengeOf } from '../support/delivery-outcome.ts'
import { publish, route } from '../support/routing.ts'
import { newSid, post, twilioReceipt } from '../support/webhooks.ts'

let app: App
beforeAll(async () => {
  app = await startApp()
  await publish(app, [
    route(20, { PUSH: ['fcm-push'] }, { customerSegment: 'PUSH' }),
    route(30, { SMS: ['twilio-sms'] }),
  ])
})
afterAll(() => app[Symbol.asyncDispose]())

/** Sweepers look every few seconds. */
const WITHIN = { timeout: 10_000 }

/** Lets it be so late that every receipt that is still waited for counts as missing. */
async function passTime(app: Pick<App, 'db'>): Promise<void> {
  await sql`UPDATE challenge SET receipt_due_at = clock_timestamp() WHERE receipt_due_at IS NOT NULL`.execute(app.db)
}

/** Starts a signature of whose message something unheard-of is told before the vendor answers. */
async function startBehindAnUnknownWord(): Promise<string> {
  app.sandbox.failNext({ latencyMs: 300, sent: true, receipts: [] })
  const request = startRequest()
  const called = app.sandbox.nextCall()
  const started = app.client.startSignature(request)
  await called
  const { id: challengeId } = await challengeOf(app, request.idempotencyKey)
  const receipt = twilioReceipt(app, { challengeId, sid: app.sandbox.messages[0]?.sid ?? '', status: 'unheard-of' })
  expect(await post(app, receipt)).toBe(200)
  await started
  return challengeId
}

/** How many were counted by these replicas together. */
async function counted(...replicas: Pick<App, 'metrics'>[]): Promise<number> {
  const pages = await Promise.all(replicas.map((replica) => replica.metrics()))
  const line = /^challenge_receipts_missing_total\{provider="twilio-sms",route="30"\} (\d+)$/m
  return pages.reduce((sum, page) => sum + Number(line.exec(page)?.[1] ?? 0), 0)
}

test('a receipt is waited for until a minute after the code has expired', async () => {
  const { challengeId } = await start(app)
  const challenge = await row(app, 'challenge', challengeId)
  expect(Number(challenge?.receipt_due_at) - Number(challenge?.expires_at)).toBe(60_000)
})

test('a message without any receipt is taken once, however many look at once', async () => {
  await using own = await startApp()
  for (let n = 0; n < 20; n++) await start(own)
  // Its own sweeper would look as well.
  await own.server[Symbol.asyncDispose]()
  expect(await takeMissingReceipts(own.db, 100)).toEqual([])
  await passTime(own)
  const taken = await Promise.all(Array.from({ length: 8 }, () => takeMissingReceipts(own.db, 3)))
  taken.push(await takeMissingReceipts(own.db, 100))
  expect(taken.flat()).toEqual(Array(20).fill({ provider: 'twilio-sms', routePriority: 1000 }))
  for (const batch of taken.slice(0, 8)) expect(batch.length).toBeLessThanOrEqual(3)
  expect(await takeMissingReceipts(own.db, 100)).toEqual([])
})

test('it is counted by one of two replicas, and one that was reported by none', async () => {
  const other = await app.replica()
  for (const status of ['sent', 'delivered', 'undelivered', 'an-unknown-word']) {
    const { challengeId } = await start(app)
    const sid = app.sandbox.messages[0]?.sid ?? newSid()
    expect(await post(app, twilioReceipt(app, { challengeId, sid, status }))).toBe(200)
  }
  app.sandbox.failNext({ receipts: [{ status: 'sent', beforeAnswer: true }] })
  await start(app)
  expect(await row(app, 'challenge', await startBehindAnUnknownWord())).toMatchObject({ receipt_due_at: null })
  const before = await counted(app, other)

  const { challengeId } = await start(app)
  await passTime(app)
  await expect.poll(() => row(app, 'challenge', challengeId), WITHIN).toMatchObject({ receipt_due_at: null })
  await expect.poll(() => counted(app, other), WITHIN).toBe(before + 2)
})

test('a push is never waited for', async () => {
  const request = startRequest({ customerSegment: 'PUSH', pushToken: 'device-1' })
  const { challenge } = await app.client.startSignature(request)
  expect(await row(app, 'challenge', challenge?.id ?? '')).toMatchObject({
    status: 'SENT',
    provider: 'fcm-push',
    receipt_due_at: null,
  })
})
