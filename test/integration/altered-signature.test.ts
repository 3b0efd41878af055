import { randomUUID } from 'node:crypto'
import { Code } from '@connectrpc/connect'
import fc from 'fast-check'
import { sql } from 'kysely'
import { afterAll, beforeAll, beforeEach, expect, test, vi } from 'vitest'
import { AbortReason } from '../../gen/bank/signature/v1/signature_pb.ts'
import { readTransaction } from '../../src/db/stored-transaction.ts'
import { toDecimal } from '../../src/domain/amount.ts'
import { isPlainText } from '../../src/domain/text.ts'
import { type Transaction, transactionDigest } from '../../src/domain/transaction.ts'
import { type App, failure, row, start, startApp, startRequest, transaction, typeName } from '../support/app.ts'
import { publish, route } from '../support/routing.ts'
import { post, twilioReceipt } from '../support/webhooks.ts'

const FRAUD = 'GB33BUKB20201555555555'
const ALTERED = 'signature altered: its transaction does not match its digest'

let app: App
beforeAll(async () => {
  app = await startApp({ DELIVERY_RETRIES: '0' })
  await publish(app, [route(1, { SMS: ['twilio-sms', 'vonage-sms'] }, {}, { fallbackOnUndelivered: true })])
})
beforeEach(() => app.sandbox.clear())
afterAll(() => app[Symbol.asyncDispose]())

type Started = Awaited<ReturnType<typeof start>> & { idempotencyKey: string }

/** A signature whose payee's account was changed in the database after its code was sent. */
async function altered(): Promise<Started> {
  const idempotencyKey = randomUUID()
  const started = await start(app, { idempotencyKey })
  await sql`UPDATE signature SET payee_account = ${FRAUD} WHERE id = ${started.signatureId}`.execute(app.db)
  // As if the code had been sent a minute ago, so that it may be sent again.
  await sql`
    UPDATE challenge SET created_at = created_at - interval '1 minute' WHERE id = ${started.challengeId}
  `.execute(app.db)
  return { ...started, idempotencyKey }
}

async function count(): Promise<number> {
  return Number(/^signatures_altered_total (\d+)$/m.exec(await app.metrics())?.[1])
}

function reportsOf(signatureId: string) {
  return app.logs.filter(({ msg, signature_id }) => msg === ALTERED && signature_id === signatureId)
}

const CALLS: [string, (started: Started) => Promise<unknown>][] = [
  ['GetSignature', ({ signatureId }) => app.client.getSignature({ signatureId })],
  ['ListSignatures', () => app.client.listSignatures({})],
  [
    'WatchSignature',
    async ({ signatureId }) => {
      for await (const told of app.client.watchSignature({ signatureId }))
        expect.unreachable(`${typeName(told.event?.type)} was told`)
    },
  ],
  [
    'StartSignature with the same key',
    ({ idempotencyKey }) => app.client.startSignature(startRequest({ idempotencyKey })),
  ],
  ['ResendChallenge', ({ signatureId }) => app.client.resendChallenge({ signatureId, idempotencyKey: randomUUID() })],
  [
    'CompleteSignature',
    ({ signatureId, code }) => app.client.completeSignature({ signatureId, code, transaction: transaction() }),
  ],
  [
    'CompleteSignature for the altered transaction',
    ({ signatureId, code }) =>
      app.client.completeSignature({ signatureId, code, transaction: transaction({ payeeAccount: FRAUD }) }),
  ],
  [
    'AbortSignature',
    ({ signatureId }) => app.client.abortSignature({ signatureId, reason: AbortReason.USER_CANCELLED }),
  ],
  [
    'SimulateRoutingTable',
    () => app.routing.simulateRoutingTable({ routes: [route(1, { SMS: ['twilio-sms'] })], signatures: 1 }),
  ],
]

test.each(CALLS)(
  '%s of an altered signature is INTERNAL, told to the log and counted, and nothing is sent or signed',
  async (_, call) => {
    const started = await altered()
    const { signatureId, challengeId } = started
    const before = await count()
    const rows = async () => [await row(app, 'signature', signatureId), await row(app, 'challenge', challengeId)]
    const stored = await rows()

    const error = await failure(call(started))

    expect(error).toMatchObject({ code: Code.Internal, reason: 'INTERNAL', message: 'internal error' })
    expect(JSON.stringify(error)).not.toContain(signatureId)
    expect(await count()).toBe(before + 1)
    const [report, ...others] = reportsOf(signatureId)
    expect(others).toEqual([])
    expect(Object.keys(report ?? {}).toSorted()).toEqual(['level', 'msg', 'signature_id', 'time'])
    expect(report?.level).toBe('error')
    expect(await rows()).toEqual(stored)
    expect(app.sandbox.calls).toHaveLength(1)
    await sql`DELETE FROM signature WHERE id = ${signatureId}`.execute(app.db)
  },
)

test('no message follows an altered signature whose message did not arrive', async () => {
  const { signatureId, challengeId } = await altered()
  const sid = app.sandbox.messages[0]?.sid ?? ''
  await using replica = await app.replica()
  expect(
    await post(replica, twilioReceipt(replica, { challengeId, sid, status: 'undelivered', errorCode: '30003' })),
  ).toBe(200)
  await vi.waitFor(() => expect(replica.logs.filter(({ msg }) => msg === ALTERED)).toHaveLength(1), 10_000)
  expect(replica.logs.find(({ msg }) => msg === ALTERED)).toMatchObject({ level: 'error', signature_id: signatureId })
  await replica[Symbol.asyncDispose]()
  expect(app.sandbox.calls).toHaveLength(1)
  expect(await row(app, 'challenge', challengeId)).toMatchObject({ status: 'SENT', delivery_status: 'UNDELIVERED' })
  await sql`DELETE FROM signature WHERE id = ${signatureId}`.execute(app.db)
})

test('an altered signature still ends when its time is over', async () => {
  const { signatureId } = await altered()
  await sql`UPDATE signature SET expires_at = clock_timestamp() WHERE id = ${signatureId}`.execute(app.db)
  await vi.waitFor(
    async () => expect(await row(app, 'signature', signatureId)).toMatchObject({ status: 'EXPIRED' }),
    10_000,
  )
  await sql`DELETE FROM signature WHERE id = ${signatureId}`.execute(app.db)
})

test.each([
  ['amount', sql`amount + 0.000000001`],
  ['amount', sql`'NaN'`],
  ['currency', sql`'USD'`],
  ['payee_name', sql`payee_name || ' '`],
  ['payee_account', sql`lower(payee_account)`],
  ['transaction_type', sql`''`],
  ['reference', sql`reference || '1'`],
  ['transaction_digest', sql`sha256('another')`],
])('a change of %s is noticed', async (column, value) => {
  const { signatureId } = await start(app)
  await sql`UPDATE signature SET ${sql.ref(column)} = ${value} WHERE id = ${signatureId}`.execute(app.db)
  expect(await failure(app.client.getSignature({ signatureId }))).toMatchObject({ code: Code.Internal })
  expect(reportsOf(signatureId)).toHaveLength(1)
  await sql`DELETE FROM signature WHERE id = ${signatureId}`.execute(app.db)
})

test('every transaction that can be started is read back as the one that its digest was made of', async () => {
  const { signatureId } = await start(app)
  const original = await app.db
    .selectFrom('signature')
    .selectAll()
    .where('id', '=', signatureId)
    .executeTakeFirstOrThrow()
  const plain = (minLength: number) => fc.string({ unit: 'grapheme', minLength, maxLength: 30 }).filter(isPlainText)
  const wild = fc.string({ unit: 'binary', minLength: 1, maxLength: 30 }).filter(isPlainText)
  const nanos = fc.oneof(
    fc.integer({ min: 1, max: 999_999_999 }),
    fc.integer({ min: 1, max: 99 }).map((n) => n * 10_000_000),
  )
  const transactions: fc.Arbitrary<Transaction> = fc.record({
    amount: fc.record({
      currency: fc.constantFrom('EUR', 'JPY', 'KWD'),
      units: fc.oneof(fc.bigInt(0n, 9_223_372_036_854_775_807n), fc.bigInt(0n, 1_000n)),
      nanos,
    }),
    payeeName: fc.oneof(plain(1), wild),
    payeeAccount: plain(1),
    transactionType: plain(0),
    reference: fc.oneof(plain(0), wild),
  })
  const started = [
    ...fc.sample(transactions, 200),
    { ...readTransaction(original), amount: { currency: 'EUR', units: 9_223_372_036_854_775_807n, nanos: 0 } },
    { ...readTransaction(original), payeeName: 'e\u0301 \u00e9 \ufb01 \u212b \u{1f468}\u200d\u{1f469} \\ \' " %' },
  ]
  const rows = started.map((each) => ({
    ...original,
    id: randomUUID(),
    amount: toDecimal(each.amount),
    currency: each.amount.currency,
    payee_name: each.payeeName,
    payee_account: each.payeeAccount,
    transaction_type: each.transactionType,
    reference: each.reference,
    transaction_digest: transactionDigest(each),
  }))
  await app.db.insertInto('signature').values(rows).execute()

  const stored = await app.db
    .selectFrom('signature')
    .selectAll()
    .where(
      'id',
      'in',
      rows.map(({ id }) => id),
    )
    .execute()

  const byId = new Map(stored.map((each) => [each.id, readTransaction(each)]))
  expect(rows.map(({ id }) => byId.get(id))).toEqual(started)
  await sql`DELETE FROM signature`.execute(app.db)
})
