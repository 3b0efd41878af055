import { randomUUID } from 'node:crypto'
import fc from 'fast-check'
import { sql } from 'kysely'
import { afterAll, beforeAll, expect, inject, test } from 'vitest'
import { recordReceipt } from '../../src/db/receipts.ts'
import type { DeliveryStatus } from '../../src/domain/challenge.ts'
import { type App, start, startApp } from '../support/app.ts'
import { post, twilioReceipt } from '../support/webhooks.ts'

/** What Twilio may tell of one message, from the least to the last word. */
const EVENTS = [
  { status: 'queued', meaning: 'ACCEPTED', errorCode: undefined },
  { status: 'sent', meaning: 'SENT', errorCode: undefined },
  { status: 'failed', meaning: 'UNDELIVERED', errorCode: '30008' },
  { status: 'undelivered', meaning: 'UNDELIVERED', errorCode: '30003' },
  { status: 'undelivered', meaning: 'UNDELIVERED', errorCode: '30005' },
  { status: 'delivered', meaning: 'DELIVERED', errorCode: undefined },
] as const satisfies { status: string; meaning: DeliveryStatus; errorCode: string | undefined }[]
type Event = (typeof EVENTS)[number]

/** Also in the orders of all five words, each once. */
const WORDS = EVENTS.filter(({ errorCode }) => errorCode !== '30005')
const AT_ONCE = 8
/** For each of two states; `ORDERS=5000` takes a minute or two. */
const RUNS = Number(process.env.ORDERS ?? 1_000)
const SID = `SM${'0f'.repeat(16)}`

let app: App
/** A challenge that was sent, of which the others are copies. */
let original: { signatureId: string; challengeId: string }
beforeAll(async () => {
  app = await startApp({ LOG_LEVEL: 'warn' })
  original = await start(app)
  await sql`UPDATE challenge SET provider_challenge_id = ${SID}`.execute(app.db)
})
afterAll(() => app[Symbol.asyncDispose]())

/** Copies of the original challenge, with signatures of their own; those without a send are as a crash leaves them. */
async function copies(count: number, isSent: boolean): Promise<string[]> {
  const ids = Array.from({ length: count }, () => ({ signature: randomUUID(), challenge: randomUUID() }))
  await sql`
    INSERT INTO signature
    SELECT (jsonb_populate_record(s, jsonb_build_object('id', copy->>'signature'))).*
    FROM signature s, jsonb_array_elements(${JSON.stringify(ids)}::jsonb) copy WHERE s.id = ${original.signatureId}
  `.execute(app.db)
  const unsent = { status: 'PENDING', delivery_status: null, provider_challenge_id: null, sent_at: null }
  await sql`
    INSERT INTO challenge
    SELECT (jsonb_populate_record(c, ${JSON.stringify(isSent ? {} : unsent)}::jsonb ||
      jsonb_build_object('id', copy->>'challenge', 'signature_id', copy->>'signature'))).*
    FROM challenge c, jsonb_array_elements(${JSON.stringify(ids)}::jsonb) copy WHERE c.id = ${original.challengeId}
  `.execute(app.db)
  return ids.map(({ challenge }) => challenge)
}

/** What is left of a challenge in the end, whatever came in which order. */
async function endOf(challengeIds: string[]) {
  const rows = await app.db
    .selectFrom('challenge')
    .where('id', 'in', challengeIds)
    .select(['id', 'status', 'delivery_status', 'vendor_status', 'delivery_error_code', 'provider_challenge_id'])
    .execute()
  return new Map(rows.map(({ id, ...row }) => [id, row]))
}

function expected(events: readonly Event[]) {
  const last = EVENTS.findLast((event) => events.includes(event))
  return {
    status: 'SENT',
    delivery_status: last?.meaning,
    vendor_status: last?.status,
    delivery_error_code: last?.errorCode ?? null,
    provider_challenge_id: SID,
  }
}

/** Tells each challenge its events in order, and asserts that each ends as it should. */
async function expectEnds(
  challengeIds: string[],
  orders: Event[][],
  tell: (challengeId: string, event: Event) => Promise<unknown>,
): Promise<void> {
  const waiting = orders.map((events, index) => ({ events, challengeId: challengeIds[index] ?? '' }))
  const work = async () => {
    for (let next = waiting.pop(); next; next = waiting.pop()) {
      for (const event of next.events) await tell(next.challengeId, event)
    }
  }
  await Promise.all(Array.from({ length: AT_ONCE }, work))
  const ends = await endOf(challengeIds)
  for (const [index, events] of orders.entries()) {
    const order = events.map(({ status, errorCode }) => `${status} ${errorCode ?? ''}`).join(', ')
    expect(ends.get(challengeIds[index] ?? ''), order).toEqual(expected(events))
  }
  const kept = await app.db
    .selectFrom('receipt')
    .where('challenge_id', 'in', challengeIds)
    .select(sql<number>`count(*)::int`.as('count'))
    .executeTakeFirst()
  expect(kept?.count).toBe(orders.reduce((sum, events) => sum + new Set(events).size, 0))
}

function record(challengeId: string, { status, meaning, errorCode }: Event) {
  const receipt = {
    challengeId,
    attempt: 1,
    provider: 'twilio-sms',
    providerChallengeId: SID,
    vendorStatus: status,
    deliveryStatus: meaning,
    providerErrorCode: errorCode,
    proof: { rawBody: Buffer.from(`${status} ${errorCode}`), signature: 'signature', keyName: 'current' },
  }
  return recordReceipt(app.db, receipt, { ciphertext: receipt.proof.rawBody, keyId: 'p1' })
}

function permutations<T>(items: readonly T[]): T[][] {
  if (items.length === 0) return [[]]
  return items.flatMap((item, index) => permutations(items.toSpliced(index, 1)).map((rest) => [item, ...rest]))
}

function sample(count: number, seed = inject('seed')): Event[][] {
  return fc.sample(fc.array(fc.constantFrom(...EVENTS), { minLength: 1, maxLength: 6 }), { numRuns: count, seed })
}

test.each([
  ['the send was written', true],
  ['nothing of the send was written', false],
])('every order of the five words ends in the same state when %s', async (_, isSent) => {
  const orders = permutations(WORDS)
  expect(orders).toHaveLength(120)
  await expectEnds(await copies(orders.length, isSent), orders, record)
})

test.each([
  ['the send was written', true],
  ['nothing of the send was written', false],
])(
  'any order of some words with repeats ends with the greatest when %s',
  async (_, isSent) => {
    await expectEnds(await copies(RUNS, isSent), sample(RUNS), record)
  },
  120_000,
)

test('receipts that come all at once end in the same state', async () => {
  const [challengeId = ''] = await copies(1, false)
  await Promise.all([...EVENTS, ...EVENTS, ...EVENTS].map((event) => record(challengeId, event)))
  expect((await endOf([challengeId])).get(challengeId)).toEqual(expected(EVENTS))
})

test('over HTTP, signed by Twilio, it is the same', async () => {
  const orders = [...sample(45), ...permutations(WORDS).filter((_, index) => index % 8 === 0)]
  expect(orders).toHaveLength(60)
  const challengeIds: string[] = []
  for (const _ of orders) challengeIds.push((await start(app)).challengeId)
  await sql`UPDATE challenge SET provider_challenge_id = ${SID}`.execute(app.db)
  await expectEnds(challengeIds, orders, async (challengeId, { status, errorCode }) => {
    expect(await post(app, twilioReceipt(app, { challengeId, sid: SID, status, errorCode }))).toBe(200)
  })
})
