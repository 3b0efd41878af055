import { createHash, randomUUID } from 'node:crypto'
import { jwtVerify } from 'jose'
import { sql } from 'kysely'
import { afterAll, beforeAll, expect, inject, test } from 'vitest'
import { migrate } from '../../src/db/migrations.ts'
import { type App, PHONE, row, start, startApp, transaction } from '../support/app.ts'
import { keptReceipts, newSid, vonageReceipt, type Webhook } from '../support/webhooks.ts'

const RECEIVED = '2026-01-02T03:04:05.678Z'
const KEPT = { date: 'Fri, 02 Jan 2026 03:04:05 GMT', 'twilio-request-id': `RQ${'1f'.repeat(16)}` }
/** As the version before wrote it of an answer, whatever header came with that. */
const OLD_PROOF = {
  requestId: 'from x-other-request-id',
  httpStatus: 201,
  headers: {
    ...KEPT,
    server: 'x'.repeat(300),
    'x-request-id': `to ${PHONE}`,
    etag: '"0f0f"',
    'set-cookie': 'session=1',
    'x-echo': `Basic ${btoa('user:password')}`,
  },
  bodySha256: 'ab'.repeat(32),
  signature: 'c2lnbmVk',
  receivedAt: RECEIVED,
}
const BLANKED = {
  requestId: KEPT['twilio-request-id'],
  httpStatus: 201,
  headers: { ...KEPT, server: 'x'.repeat(256) },
  receivedAt: RECEIVED,
}

let app: App
let vonages: Webhook
beforeAll(async () => {
  app = await startApp()
  vonages = await vonageReceipt({ challengeId: randomUUID(), sid: randomUUID(), status: 'delivered' })
})
afterAll(() => app[Symbol.asyncDispose]())

/** Where the migration has not run yet, or is taken back. */
async function before(work: () => Promise<void>): Promise<void> {
  const isTaken = (names: string[]) => names.some((name) => name.endsWith('_blank_proofs'))
  while (!isTaken(await migrate(app.db, 'down')));
  await work()
  expect(isTaken(await migrate(app.db, 'up'))).toBe(true)
}

async function writeProof(challengeId: string, proof: object): Promise<void> {
  await sql`UPDATE challenge SET provider_proof = ${JSON.stringify(proof)} WHERE id = ${challengeId}`.execute(app.db)
}

async function writeReceipt(challengeId: string, signature: string): Promise<void> {
  await sql`
    INSERT INTO receipt (challenge_id, attempt, provider_challenge_id, vendor_status, body_ciphertext, body_key_id, signature, key_name)
    VALUES (${challengeId}, 1, ${newSid()}, 'delivered', 'sealed', 'p1', ${signature}, 'current')
  `.execute(app.db)
}

const TOKEN = () => vonages.headers.authorization?.replace('Bearer ', '') ?? ''

/** Asserts that a token lacks nothing but the body's hash, and is the one that was signed once that is put back. */
async function expectOnlyHashGone(signature: string | undefined): Promise<void> {
  const hash = createHash('sha256').update(vonages.body).digest('hex')
  const [header, claims = '', mac] = signature?.split('.') ?? []
  const text = Buffer.from(claims, 'base64url').toString()
  expect(text).not.toContain(hash)
  const whole = Buffer.from(text.replace('"payload_hash":"', `$&${hash}`)).toString('base64url')
  const secret = Buffer.from(inject('accounts').vonage.signatureSecret ?? '')
  const { payload } = await jwtVerify([header, whole, mac].join('.'), secret)
  expect(payload).toMatchObject({ payload_hash: hash })
}

test('what was kept of answers is blanked, of open challenges and of ended ones', async () => {
  const [open, ended] = [await start(app), await start(app)]
  await app.client.completeSignature({ signatureId: ended.signatureId, code: ended.code, transaction: transaction() })
  const ids = [open.challengeId, ended.challengeId]
  await before(async () => {
    for (const id of ids) await writeProof(id, OLD_PROOF)
  })
  for (const id of ids) expect((await row(app, 'challenge', id))?.provider_proof).toEqual(BLANKED)
})

test('a receipt that stands in for the answer is blanked, and a proof without the hash is left as it is', async () => {
  const [standsIn, newer] = [await start(app), await start(app)]
  const receiptProof = {
    vendorStatus: 'delivered',
    bodySha256: 'ab'.repeat(32),
    signature: TOKEN(),
    receivedAt: RECEIVED,
  }
  const current = (await row(app, 'challenge', newer.challengeId))?.provider_proof
  await before(() => writeProof(standsIn.challengeId, receiptProof))
  expect((await row(app, 'challenge', standsIn.challengeId))?.provider_proof).toEqual({
    vendorStatus: 'delivered',
    receivedAt: RECEIVED,
  })
  expect((await row(app, 'challenge', newer.challengeId))?.provider_proof).toEqual(current)
})

test("Vonage's tokens lose their hash of the body and nothing else, Twilio's signatures nothing", async () => {
  const { challengeId } = await start(app)
  const twilios = '0/KCTR6DLpKmkAf8muzZqo1nDgQ='
  await before(async () => {
    await writeReceipt(challengeId, TOKEN())
    await writeReceipt(challengeId, twilios)
  })
  const [first, second] = await keptReceipts(app, challengeId)
  await expectOnlyHashGone(first?.signature)
  expect(second?.signature).toBe(twilios)
})

test('what the version before still writes, beside this one, is blanked at once', async () => {
  const { challengeId } = await start(app)
  await writeProof(challengeId, OLD_PROOF)
  expect((await row(app, 'challenge', challengeId))?.provider_proof).toEqual(BLANKED)
  await writeReceipt(challengeId, TOKEN())
  const [receipt] = await keptReceipts(app, challengeId)
  await expectOnlyHashGone(receipt?.signature)
})
