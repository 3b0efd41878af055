import { type Timestamp, timestampFromDate } from '@bufbuild/protobuf/wkt'
import { Code } from '@connectrpc/connect'
import { sql } from 'kysely'
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest'
import {
  AbortReason,
  type ListSignaturesRequestSchema,
  SignatureStatus,
} from '../../gen/bank/signature/v1/signature_pb.ts'
import { type App, failure, type Init, PHONE, start, startApp, startRequest, transaction } from '../support/app.ts'
import { fill } from '../support/fill.ts'
import { publish, route } from '../support/routing.ts'

let app: App
beforeAll(async () => {
  app = await startApp({ DELIVERY_RETRIES: '0' })
  await publish(app, [route(10, { SMS: ['twilio-sms', 'vonage-sms'] })])
})
beforeEach(async () => {
  app.sandbox.clear()
  await sql`TRUNCATE signature CASCADE`.execute(app.db)
})
afterAll(() => app[Symbol.asyncDispose]())

test('all are listed, the latest first, each as GetSignature gives it but for its timeline', async () => {
  const ids = await startMany(5)
  const { signatures, nextPageToken } = await app.client.listSignatures({})

  expect(signatures.map(({ id }) => id)).toEqual(ids.toReversed())
  expect(nextPageToken).toBe('')
  for (const listed of signatures) {
    const { signature } = await app.client.getSignature({ signatureId: listed.id })
    expect(signature?.timeline).toHaveLength(3)
    expect(listed).toEqual({ ...signature, timeline: [] })
  }
})

test('nothing is listed when there is nothing', async () => {
  expect(await app.client.listSignatures({})).toMatchObject({ signatures: [], nextPageToken: '' })
})

test('only those in a status are listed; one whose time is over is EXPIRED, though nobody closed it', async () => {
  const [pending, due, expired, aborted] = await startMany(4)
  const signed = await start(app)
  await app.client.completeSignature({ ...signed, transaction: transaction() })
  app.sandbox.failNext({ status: 503 }, { status: 503 })
  const failed = (await failure(app.client.startSignature(startRequest()))).metadata.signature_id
  await app.client.abortSignature({ signatureId: aborted ?? '', reason: AbortReason.OPERATOR })
  for (const id of [due, expired]) {
    await sql`UPDATE signature SET expires_at = clock_timestamp() WHERE id = ${id}`.execute(app.db)
  }
  await app.client.getSignature({ signatureId: expired ?? '' })

  expect(await listed({ status: SignatureStatus.PENDING })).toEqual([pending])
  expect(await listed({ status: SignatureStatus.SIGNED })).toEqual([signed.signatureId])
  expect(await listed({ status: SignatureStatus.FAILED })).toEqual([failed])
  expect(await listed({ status: SignatureStatus.EXPIRED })).toEqual([expired, due])
  expect(await listed({ status: SignatureStatus.ABORTED })).toEqual([aborted])
  expect(await listed()).toEqual([failed, signed.signatureId, aborted, expired, due, pending])
  const { signatures } = await app.client.listSignatures({})
  const statuses = signatures.map(({ id, status }) => [id, status])
  expect(Object.fromEntries(statuses)).toMatchObject({
    [String(due)]: SignatureStatus.EXPIRED,
    [String(pending)]: SignatureStatus.PENDING,
  })
})

test('those for which a provider was used are listed, also when it was not the last one', async () => {
  const [direct] = await startMany(1)
  app.sandbox.failNext({ status: 503 })
  const [both] = await startMany(1)

  expect(await listed({ provider: 'twilio-sms' })).toEqual([both, direct])
  expect(await listed({ provider: 'vonage-sms' })).toEqual([both])
  expect(await listed({ provider: 'carrier-pigeon' })).toEqual([])
})

test('only those of a customer are listed', async () => {
  const [one] = await startMany(1, 'customer-1')
  const [two] = await startMany(1, 'customer-2')
  expect(await listed({ customerId: 'customer-1' })).toEqual([one])
  expect(await listed({ customerId: 'customer-2' })).toEqual([two])
  expect(await listed({ customerId: 'customer' })).toEqual([])
})

test('the start of a range is in it and its end is not', async () => {
  const ids = await startMany(3)
  const times = ['2026-01-01T10:00:00Z', '2026-01-01T11:00:00Z', '2026-01-01T12:00:00Z']
  for (const [n, id] of ids.entries()) {
    await sql`UPDATE signature SET created_at = ${times[n]}::timestamptz WHERE id = ${id}`.execute(app.db)
  }
  const [first, second, third] = ids

  expect(await listed({ startTime: at(times[1]) })).toEqual([third, second])
  expect(await listed({ endTime: at(times[1]) })).toEqual([first])
  expect(await listed({ startTime: at(times[0]), endTime: at(times[2]) })).toEqual([second, first])
  expect(await listed({ startTime: at('2026-01-01T10:00:00.001Z'), endTime: at(times[1]) })).toEqual([])
})

test('the order is that of the database, whatever clock the ids were made by', async () => {
  const [first, second, third] = await startMany(3)
  await sql`UPDATE signature SET created_at = created_at + interval '1 s' WHERE id = ${first}`.execute(app.db)
  expect(await listed()).toEqual([first, third, second])
  expect(await readPages({ pageSize: 1 })).toEqual([[first], [third], [second]])
  expect(await readPages({ pageSize: 1, provider: 'twilio-sms' })).toEqual([[first], [third], [second]])
})

test('every combination of filters lists, page by page, what a look at each signature finds', async () => {
  const { signatureId } = await start(app)
  for (const ageMs of [0, 400_000]) await fill(app.db, { count: 6, ageMs, status: 'PENDING' })
  await fill(app.db, { count: 60, ageMs: 60_000 })
  await sql`
    UPDATE signature SET customer_hmac = (SELECT customer_hmac FROM signature WHERE id = ${signatureId})
    WHERE created_at < now() - interval '80 s'
  `.execute(app.db)
  await sql`
    INSERT INTO challenge SELECT (jsonb_populate_record(challenge,
      jsonb_build_object('id', gen_random_uuid(), 'status', 'CANCELLED', 'provider', 'vonage-sms'))).*
    FROM challenge WHERE id::text < '6' AND status <> 'FAILED'
  `.execute(app.db)

  const { rows: all } = await sql<Looked>`
    SELECT id, CASE WHEN status = 'PENDING' AND expires_at <= now() THEN 'EXPIRED' ELSE status END AS status,
      customer_hmac = (SELECT customer_hmac FROM signature WHERE id = ${signatureId}) AS "isOurs", created_at AS "createdAt",
      (SELECT array_agg(provider) FROM challenge WHERE signature_id = signature.id) AS providers
    FROM signature ORDER BY signature.created_at DESC, id DESC
  `.execute(app.db)
  const [late, early] = [new Date(Date.now() - 65_000), new Date(Date.now() - 402_000)]
  for (const status of [undefined, 'PENDING', 'SIGNED', 'FAILED', 'EXPIRED', 'ABORTED'] as const) {
    for (const provider of [undefined, 'vonage-sms']) {
      for (const customerId of [undefined, 'customer-1']) {
        for (const [from, to] of [[], [early, late]]) {
          const found = all.filter(
            (each) =>
              (!status || each.status === status) &&
              (!provider || each.providers.includes(provider)) &&
              (!customerId || each.isOurs) &&
              (!from || each.createdAt >= from) &&
              (!to || each.createdAt < to),
          )
          const pages = await readPages({
            pageSize: 9,
            ...(status && { status: SignatureStatus[status] }),
            ...(provider && { provider }),
            ...(customerId && { customerId }),
            ...(from && { startTime: timestampFromDate(from) }),
            ...(to && { endTime: timestampFromDate(to) }),
          })
          expect(pages.flat(), `${status} ${provider} ${customerId} ${from}`).toEqual(found.map(({ id }) => id))
        }
      }
    }
  }
})

interface Looked {
  id: string
  status: keyof typeof SignatureStatus
  isOurs: boolean
  createdAt: Date
  providers: string[]
}

test('a page holds as many as are asked for, at most 100, and 50 when none are', async () => {
  await copies(120)
  const sizes = async (pageSize: number) => {
    const { signatures, nextPageToken } = await app.client.listSignatures({ pageSize })
    return [signatures.length, nextPageToken === signatures.at(-1)?.id]
  }
  expect(await sizes(0)).toEqual([50, true])
  expect(await sizes(1)).toEqual([1, true])
  expect(await sizes(100)).toEqual([100, true])
})

test('pages of every size hold all of six once, and the last has no token', async () => {
  const ids = await startMany(6)
  for (const pageSize of [1, 3, 5, 6]) {
    const pages = await readPages({ pageSize })
    expect(pages.flat()).toEqual(ids.toReversed())
    expect(pages.map((page) => page.length)).toEqual(
      Array.from({ length: Math.ceil(6 / pageSize) }, (_, n) => Math.min(pageSize, 6 - n * pageSize)),
    )
  }
})

test('new ones and changes between pages shift nothing', async () => {
  const ids = await startMany(9)
  const pages = await readPages({ pageSize: 2 }, async (page) => {
    await startMany(3)
    // The one that the token names, and one that is still to come.
    for (const signatureId of [page.at(-1) ?? '', ids[0] ?? '']) {
      await app.client.abortSignature({ signatureId, reason: AbortReason.OPERATOR })
    }
  })
  expect(pages.flat()).toEqual(ids.toReversed())
})

test('filtered pages go on behind one that matches no more', async () => {
  const ids = await startMany(5)
  const pages = await readPages({ pageSize: 2, status: SignatureStatus.PENDING }, async (page) => {
    for (const signatureId of page) await app.client.abortSignature({ signatureId, reason: AbortReason.OPERATOR })
  })
  expect(pages.flat()).toEqual(ids.toReversed())
})

test("another caller's signatures are not listed", async () => {
  const [mine, theirs] = await startMany(2)
  await sql`UPDATE signature SET caller = 'another' WHERE id = ${theirs}`.execute(app.db)
  expect(await listed()).toEqual([mine])
  expect(await listed({ provider: 'twilio-sms', customerId: 'customer-1' })).toEqual([mine])
})

test('an answer holds no phone number and no customer, not even masked or hashed', async () => {
  const [id] = await startMany(1, 'customer-007')
  const answer = await app.client.listSignatures({})
  const told = JSON.stringify(answer, (_, value) => (typeof value === 'bigint' ? String(value) : value))
  expect(told).toContain(String(id))
  for (const secret of [PHONE, PHONE.slice(1), PHONE.slice(-9), '*', 'customer-007']) expect(told).not.toContain(secret)
  expect(JSON.stringify(app.logs.filter(({ method }) => String(method).includes('List')))).not.toContain('customer')
})

test('wrong fields are told all at once', async () => {
  const wrong = {
    status: 9 as SignatureStatus,
    provider: 'x'.repeat(65),
    customerId: 'x'.repeat(129),
    startTime: at('2026-01-02T00:00:00Z'),
    endTime: at('2026-01-01T00:00:00Z'),
    pageSize: 101,
    pageToken: 'none',
  }
  const told = await failure(app.client.listSignatures(wrong))
  expect(told).toMatchObject({ code: Code.InvalidArgument, reason: 'INVALID_FIELD' })
  const fields = ['customer_id', 'end_time', 'page_size', 'page_token', 'provider', 'status']
  expect(told.fields.toSorted()).toEqual(fields)
})

const NOW = at('2026-01-01T00:00:00Z')
test.each<[string, Request]>([
  ['page_size', { pageSize: -1 }],
  ['page_size', { pageSize: 101 }],
  ['page_token', { pageToken: '1' }],
  ['end_time', { startTime: NOW, endTime: NOW }],
  ['start_time', { startTime: { ...NOW, seconds: 253_402_300_800n } }],
  ['provider', { provider: ' ' }],
])('%s is refused when it is wrong', async (field, request) => {
  expect((await failure(app.client.listSignatures(request))).fields).toEqual([field])
})

type Request = Init<typeof ListSignaturesRequestSchema>

async function listed(request: Request = {}): Promise<string[]> {
  return (await app.client.listSignatures(request)).signatures.map(({ id }) => id)
}

/** The ids on each page; something may happen between two. */
async function readPages(request: Request, between = async (_page: string[]) => {}): Promise<string[][]> {
  const { signatures, nextPageToken } = await app.client.listSignatures(request)
  const page = signatures.map(({ id }) => id)
  if (nextPageToken === '') return [page]
  await between(page)
  return [page, ...(await readPages({ ...request, pageToken: nextPageToken }, between))]
}

/** Starts so many, one after the other, and gives their ids, oldest first. */
async function startMany(count: number, customerId = 'customer-1'): Promise<string[]> {
  const ids: string[] = []
  for (let n = 0; n < count; n++) {
    const { signature } = await app.client.startSignature(startRequest({ customerId }))
    ids.push(signature?.id ?? '')
  }
  return ids
}

/** Writes so many signatures that are like one that was started. */
async function copies(count: number): Promise<void> {
  const [id] = await startMany(1)
  await sql`
    INSERT INTO signature
    SELECT (jsonb_populate_record(signature, jsonb_build_object('id', gen_random_uuid()))).*
    FROM signature, generate_series(1, ${count}) WHERE id = ${id}
  `.execute(app.db)
}

function at(time: string | number | undefined): Timestamp {
  return timestampFromDate(new Date(time ?? Number.NaN))
}
