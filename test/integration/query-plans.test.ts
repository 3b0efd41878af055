import { randomUUID } from 'node:crypto'
import { timestampFromDate } from '@bufbuild/protobuf/wkt'
import type { Client } from '@connectrpc/connect'
import { sql } from 'kysely'
import { afterAll, beforeAll, expect, inject, test, vi } from 'vitest'
import type { RoutingService } from '../../gen/bank/signature/v1/routing_pb.ts'
import {
  AbortReason,
  type ListSignaturesRequestSchema,
  type SignatureService,
  SignatureStatus,
} from '../../gen/bank/signature/v1/signature_pb.ts'
import { openDatabase } from '../../src/db/database.ts'
import {
  type App,
  failure,
  type Init,
  PHONE,
  start,
  startApp,
  startRequest,
  transaction,
  wrongCode,
} from '../support/app.ts'
import { createDatabase } from '../support/database.ts'
import { fill } from '../support/fill.ts'
import { type ExecutedStatement, nodesOf, recordPlans, rowsRead } from '../support/query-plans.ts'
import { enable, pause, publish, route } from '../support/routing.ts'
import { post, twilioReceipt } from '../support/webhooks.ts'

const FILLED = 20_000
/** Beyond the largest page and batch, far below what there is. */
const MOST_READ = 1_000

let app: App
let statements: ExecutedStatement[]
/** The tables that grow with every signature. */
let large: string[]

beforeAll(async () => {
  const url = await createDatabase(inject('postgresUrl'), randomUUID(), 'migrated')
  large = await prepare(url)
  const recorder = await recordPlans(url)
  app = await startApp({ DATABASE_URL: url, RETENTION_DAYS: '30', DELIVERY_RETRIES: '0' })
  for (const call of Object.values({ ...calls, ...operatorCalls })) await call()
  for (const request of everyFilter()) await app.client.listSignatures(request)
  await undelivered()
  await vi.waitFor(async () => expect((await app.metrics()).split('\n')).toEqual(expect.arrayContaining(SWEPT)), {
    timeout: 10_000,
  })
  statements = await recorder.statements()
})
afterAll(() => app?.[Symbol.asyncDispose]())

test('no statement reads a large table as a whole, or many more of its rows than it needs', () => {
  expect(large).toEqual(expect.arrayContaining(['signature', 'challenge', 'timeline', 'idempotency_key']))
  const offenders = statements.flatMap(({ text, plan }) =>
    nodesOf(plan)
      .filter((node) => {
        const isLarge = node['Relation Name'] !== undefined && large.includes(node['Relation Name'])
        return (isLarge && node['Node Type'] === 'Seq Scan') || rowsRead(node) > MOST_READ
      })
      .map((node) => `${node['Node Type']} of ${node['Relation Name']}, ${rowsRead(node)} rows: ${text}`),
  )
  expect([...new Set(offenders)]).toEqual([])
})

test('every index that is there for reading is read by some statement', async () => {
  const { rows } = await sql<{ name: string }>`
    SELECT indexrelid::regclass::text AS name FROM pg_index JOIN pg_class ON pg_class.oid = indrelid
    WHERE NOT indisunique AND relname = ANY(${large}) ORDER BY 1
  `.execute(app.db)
  const read = new Set(statements.flatMap(({ plan }) => nodesOf(plan)).map((node) => node['Index Name']))
  expect(rows.map(({ name }) => name).filter((name) => !read.has(name))).toEqual([])
})

/** Told by the metrics once each sweep has taken what {@link prepare} left for it, and one more has expired here. */
const SWEPT = [
  'challenge_deliveries_lost_total{provider="twilio-sms"} 20',
  'signatures_total{status="EXPIRED"} 101',
  'challenge_receipts_missing_total{provider="twilio-sms",route="1000"} 20',
  'database_rows_removed_total{table="idempotency_key"} 20',
  'database_rows_removed_total{table="signature"} 20',
]

/** Fills a database. Returns the tables that are large then. */
async function prepare(url: string): Promise<string[]> {
  await using database = openDatabase(url)
  const { db } = database
  await fill(db, { count: FILLED, ageMs: 600_000 })
  // Live, and each a message that is being sent, and has a receipt to come.
  await fill(db, { count: 2 * MOST_READ, ageMs: 0, everyMs: 50, status: 'PENDING' })
  await sql`
    UPDATE challenge SET status = 'PENDING', delivery_status = NULL, lease_expires_at = expires_at,
      receipt_due_at = expires_at
    WHERE expires_at > now()
  `.execute(db)
  // And something to do for each sweep.
  await sql`
    UPDATE challenge SET lease_expires_at = now(), receipt_due_at = now()
    WHERE id IN (SELECT id FROM challenge WHERE expires_at > now() AND provider = 'twilio-sms' LIMIT 20)
  `.execute(db)
  await fill(db, { count: 100, ageMs: 400_000, status: 'PENDING' })
  await fill(db, { count: 20, ageMs: 40 * 86_400_000, status: 'SIGNED' })
  await sql`
    UPDATE idempotency_key SET created_at = now() - interval '25 hours'
    WHERE key IN (SELECT id::text FROM signature WHERE status = 'ABORTED' LIMIT 20)
  `.execute(db)
  await sql`ANALYZE`.execute(db)
  const { rows } = await sql<{ name: string }>`
    SELECT relname AS name FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace AND reltuples >= ${FILLED}
  `.execute(db)
  return rows.map(({ name }) => name)
}

/** One for each method, and one more for each way in which it may end. A method that is missing here does not compile. */
const calls: Record<keyof Client<typeof SignatureService>, () => Promise<unknown>> = {
  async startSignature() {
    await publish(app, [route(10, { SMS: ['twilio-sms', 'vonage-sms'] }, {}, { fallbackOnUndelivered: true })])
    const request = startRequest()
    await app.client.startSignature(request)
    await app.client.startSignature(request)
    app.sandbox.failNext({ status: 503 })
    await app.client.startSignature(startRequest())
    app.sandbox.failNext({ status: 503 }, { status: 503 })
    await failure(app.client.startSignature(startRequest()))
  },
  async completeSignature() {
    const { signatureId, code } = await start(app)
    await failure(app.client.completeSignature({ signatureId, code: wrongCode(code), transaction: transaction() }))
    await app.client.completeSignature({ signatureId, code, transaction: transaction() })
    const exhausted = await start(app)
    for (let n = 0; n < 3; n++) {
      const wrong = { signatureId: exhausted.signatureId, code: wrongCode(exhausted.code), transaction: transaction() }
      await failure(app.client.completeSignature(wrong))
    }
  },
  async resendChallenge() {
    const { signatureId } = await start(app)
    await sql`
      UPDATE challenge SET created_at = created_at - interval '1 minute' WHERE signature_id = ${signatureId}
    `.execute(app.db)
    await app.client.resendChallenge({ signatureId, idempotencyKey: randomUUID() })
  },
  async abortSignature() {
    const { signatureId } = await start(app)
    await app.client.abortSignature({ signatureId, reason: AbortReason.OPERATOR })
  },
  async watchSignature() {
    const { signatureId, code } = await start(app)
    await app.client.completeSignature({ signatureId, code, transaction: transaction() })
    for await (const _ of app.client.watchSignature({ signatureId }));
  },
  async getSignature() {
    const { signatureId } = await start(app)
    await sql`UPDATE signature SET expires_at = now() WHERE id = ${signatureId}`.execute(app.db)
    await app.client.getSignature({ signatureId })
  },
  async getChallenge() {
    const { challengeId } = await start(app)
    await app.client.getChallenge({ challengeId })
  },
  async listSignatures() {
    const { signatureId } = await start(app)
    // So that a customer has some of those that were filled in.
    await sql`
      UPDATE signature SET customer_hmac = (SELECT customer_hmac FROM signature WHERE id = ${signatureId})
      WHERE caller = 'anonymous' AND customer_hmac = sha256('customer 7')
    `.execute(app.db)
    const { nextPageToken } = await app.client.listSignatures({ pageSize: 100 })
    await app.client.listSignatures({ pageSize: 100, pageToken: nextPageToken })
  },
}

const operatorCalls: Record<keyof Client<typeof RoutingService>, () => Promise<unknown>> = {
  getRoutingTable: () => app.routing.getRoutingTable({ version: 1 }),
  listRoutingTableVersions: () => app.routing.listRoutingTableVersions({}),
  publishRoutingTable: () => publish(app, [route(10, { SMS: ['twilio-sms', 'vonage-sms'] })]),
  async rollBackRoutingTable() {
    const { routingTable } = await app.routing.getRoutingTable({})
    const replacesVersion = routingTable?.version ?? 0
    const why = { author: 'ops@bank.example', reason: 'for a test' }
    await app.routing.rollBackRoutingTable({ version: replacesVersion - 1, replacesVersion, ...why })
  },
  explainRoute: () => app.routing.explainRoute({ phoneNumber: PHONE, transaction: transaction() }),
  // No more than were started here: the others' phone numbers are sealed with nothing.
  simulateRoutingTable: () =>
    app.routing.simulateRoutingTable({ routes: [route(10, { SMS: ['vonage-sms'] })], signatures: 3 }),
  listProviders: () => app.routing.listProviders({}),
  async setProviderState() {
    await pause(app, 'fcm-push')
    await enable(app, 'fcm-push')
  },
}

/** A receipt that starts a fallback, and one that is late. */
async function undelivered(): Promise<void> {
  const { signature, challenge } = await app.client.startSignature(startRequest())
  const told = { challengeId: challenge?.id ?? '', sid: challenge?.providerChallengeId ?? '' }
  expect(await post(app, twilioReceipt(app, { ...told, status: 'undelivered', errorCode: '30005' }))).toBe(200)
  expect(await post(app, twilioReceipt(app, { ...told, status: 'sent' }))).toBe(200)
  await vi.waitFor(async () => {
    const { signature: fellBack } = await app.client.getSignature({ signatureId: signature?.id ?? '' })
    expect(fellBack?.challengeIds).toHaveLength(2)
  })
}

type Filter = Init<typeof ListSignaturesRequestSchema>

/** Every combination of filters; some find many, some few, some nothing. */
function everyFilter(): Filter[] {
  const at = (agoMs: number) => timestampFromDate(new Date(Date.now() - agoMs))
  const { PENDING, SIGNED, FAILED, EXPIRED } = SignatureStatus
  const statuses: Filter[] = [{}, ...[PENDING, SIGNED, FAILED, EXPIRED].map((status) => ({ status }))]
  const providers: Filter[] = [{}, ...['twilio-sms', 'vonage-sms', 'carrier-pigeon'].map((provider) => ({ provider }))]
  const customers: Filter[] = [{}, { customerId: 'customer-1' }, { customerId: 'nobody' }]
  const hour = 3_600_000
  const times: Filter[] = [{}, { startTime: at(2 * hour), endTime: at(2 * hour - 5_000) }, { endTime: at(3 * hour) }]
  const combine = (some: Filter[], others: Filter[]) =>
    some.flatMap((one) => others.map((other) => ({ ...one, ...other })))
  return [statuses, providers, customers, times].reduce(combine)
}
