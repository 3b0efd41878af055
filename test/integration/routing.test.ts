import { randomUUID } from 'node:crypto'
import { Code } from '@connectrpc/connect'
import { type Insertable, sql } from 'kysely'
import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { Channel } from '../../gen/bank/signature/v1/signature_pb.ts'
import type { Schema } from '../../src/db/schema.ts'
import { type App, failure, row, startApp, startRequest, transaction } from '../support/app.ts'

type RouteRow = Omit<Insertable<Schema['route']>, 'channel' | 'provider'> & { provider?: string; channel?: 'VOICE' }

let app: App
/** A replica that read the rows below. */
let routed: Awaited<ReturnType<App['replica']>>
beforeAll(async () => {
  app = await startApp()
  await insertRoutes(app, [
    { priority: 80, calling_prefix: '+346' },
    { priority: 70, currency: 'KWD', max_amount: '1.001' },
    { priority: 60, currency: 'EUR', min_amount: '1000' },
    { priority: 50, currency: 'JPY' },
    { priority: 40, currency: 'EUR', min_amount: '100', max_amount: '200' },
    { priority: 20, calling_prefix: '+34', transaction_type: 'CARD' },
    { priority: 30, transaction_type: 'CARD' },
    { priority: 10, enabled: false },
  ])
  routed = await app.replica()
})
afterAll(() => app[Symbol.asyncDispose]())

const UK = '+447700900123'
const MADRID = '+34911222333'
const SPANISH_MOBILE = '+34600111222'

test.each([
  ['prefix and type match', MADRID, 'CARD', 'EUR 150', '20'],
  ['only the type matches', UK, 'CARD', 'EUR 150', '30'],
  ['a type is another in lower case', UK, 'card', 'EUR 99', '1000'],
  ['a type only begins like the one named', UK, 'CARD_PRESENT', 'EUR 99', '1000'],
  ['an amount is the least of a range', UK, '', 'EUR 100', '40'],
  ['an amount is the greatest of a range', UK, '', 'EUR 200', '40'],
  ['an amount is a cent below a range', UK, '', 'EUR 99.99', '1000'],
  ['an amount is a cent above a range', UK, '', 'EUR 200.01', '1000'],
  ['an amount has no upper limit', UK, '', 'EUR 90071992547409.93', '60'],
  ['an amount is in the range of another currency', UK, '', 'USD 150', '1000'],
  ['a row names a currency and no amounts', UK, '', 'JPY 1', '50'],
  ['an amount is a thousandth, the last that matches', UK, '', 'KWD 1.001', '70'],
  ['an amount is a thousandth, the first that does not', UK, '', 'KWD 1.002', '1000'],
  ['a prefix is the longer one', SPANISH_MOBILE, '', 'EUR 99', '80'],
  ['a phone number has only the shorter prefix', MADRID, '', 'EUR 99', '1000'],
  ['several rows match', SPANISH_MOBILE, 'CARD', 'EUR 1000', '20'],
])('when %s, the first row that matches is taken', async (_, phoneNumber, transactionType, amount, priority) => {
  const { signature, challenge } = await routed.client.startSignature(
    startRequest({ phoneNumber, transaction: transaction({ transactionType, amount: money(amount) }) }),
  )

  const { signature: withTimeline } = await routed.client.getSignature({ signatureId: signature?.id ?? '' })
  expect(withTimeline?.timeline[0]).toMatchObject({
    type: 'SIGNATURE_STARTED',
    details: { route: priority, channel: 'SMS', provider: 'twilio-sms' },
  })
  expect(await row(app, 'challenge', challenge?.id ?? '')).toMatchObject({ route: { priority: Number(priority) } })
})

test('the row that matched is kept with the challenge as it was then', async () => {
  const { challenge } = await routed.client.startSignature(
    startRequest({ phoneNumber: UK, transaction: transaction({ amount: money('EUR 150') }) }),
  )
  const changed = app.db.updateTable('route').set({ max_amount: '175' }).where('priority', '=', 40)
  const route = await changed.returning('id').executeTakeFirst()

  expect(await row(app, 'challenge', challenge?.id ?? '')).toMatchObject({
    channel: 'SMS',
    provider: 'twilio-sms',
    route: {
      id: route?.id,
      priority: 40,
      channel: 'SMS',
      callingPrefix: null,
      transactionType: null,
      currency: 'EUR',
      minAmount: '100.000000000',
      maxAmount: '200.000000000',
      provider: 'twilio-sms',
    },
  })
})

test('a requested channel is served by its routes', async () => {
  const { challenge } = await routed.client.startSignature(startRequest({ channel: Channel.SMS }))
  expect(challenge).toMatchObject({ channel: Channel.SMS, provider: 'twilio-sms' })
})

test.each([Channel.VOICE, Channel.PUSH])('a requested channel without a route is refused: %i', async (channel) => {
  await expectNoRoute(routed, { channel })
})

test('where no enabled row matches, nothing is stored and nothing is sent', async () => {
  await using own = await startApp()
  await own.db.updateTable('route').set({ enabled: false }).execute()
  await insertRoutes(own, [
    { priority: 1, calling_prefix: '+44' },
    { priority: 2, transaction_type: 'CARD' },
    { priority: 3, currency: 'USD' },
    { priority: 4, currency: 'EUR', min_amount: '125.51' },
  ])
  await expectNoRoute(await own.replica(), {})
  expect(await own.db.selectFrom('signature').selectAll().execute()).toEqual([])
})

test('without any row nothing can be started', async () => {
  await using own = await startApp()
  await own.db.deleteFrom('route').execute()
  await expectNoRoute(await own.replica(), {})
})

test.each([true, false])(
  'a row that names an unknown provider stops the start, enabled or not: %s',
  async (enabled) => {
    await using own = await startApp()
    await insertRoutes(own, [{ priority: 7, provider: 'acme-sms', enabled }])
    const before = await connections(own)

    const starting = own.replica()

    await expect(starting).rejects.toThrow(
      'the route with priority 7 names "acme-sms" for SMS; there is only twilio-sms for SMS',
    )
    await vi.waitFor(async () => expect(await connections(own)).toBeLessThanOrEqual(before), 10_000)
  },
)

test('a row that names a provider of another channel stops the start', async () => {
  await using own = await startApp()
  await insertRoutes(own, [{ priority: 7, channel: 'VOICE', provider: 'twilio-sms' }])

  await expect(own.replica()).rejects.toThrow(
    'the route with priority 7 names "twilio-sms" for VOICE; there is only twilio-sms for SMS',
  )
})

async function insertRoutes({ db }: Pick<App, 'db'>, rows: RouteRow[]): Promise<void> {
  await db
    .insertInto('route')
    .values(rows.map((fields) => ({ channel: 'SMS' as const, provider: 'twilio-sms', ...fields })))
    .execute()
}

/** Reads "EUR 99.99". */
function money(text: string) {
  const [currencyCode = '', decimal = ''] = text.split(' ')
  const [units = '', fraction = ''] = decimal.split('.')
  return { currencyCode, units: BigInt(units), nanos: Number(fraction.padEnd(9, '0')) }
}

async function expectNoRoute(
  { client, db, twilio }: Pick<App, 'client' | 'db' | 'twilio'>,
  fields: { channel?: Channel },
): Promise<void> {
  const idempotencyKey = randomUUID()
  const callsBefore = twilio.calls.length

  expect(await failure(client.startSignature(startRequest({ ...fields, idempotencyKey })))).toMatchObject({
    code: Code.FailedPrecondition,
    reason: 'NO_ROUTE',
  })

  const claim = db.selectFrom('idempotency_key').where('key', '=', idempotencyKey).selectAll()
  expect(await claim.execute()).toEqual([])
  expect(twilio.calls).toHaveLength(callsBefore)
}

async function connections({ db }: Pick<App, 'db'>): Promise<number> {
  const { rows } = await sql<{ n: number }>`
    SELECT count(*)::int AS n FROM pg_stat_activity WHERE datname = current_database() AND backend_type = 'client backend'
  `.execute(db)
  return rows[0]?.n ?? -1
}
