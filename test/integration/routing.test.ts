import { randomUUID } from 'node:crypto'
import { Code } from '@connectrpc/connect'
import { sql } from 'kysely'
import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { Channel, TimelineEventType } from '../../gen/bank/signature/v1/signature_pb.ts'
import { type App, failure, row, startApp, startRequest, transaction } from '../support/app.ts'
import { type Chain, forceTable, publish, type RouteInit, route } from '../support/routing.ts'

const SMS = { SMS: ['twilio-sms'] } satisfies Chain
const range = (currencyCode: string, min = '', max = '') => ({ amount: { currencyCode, min, max } })
/** The hour that is now, and the one after it. */
const HOURS = { start: hour(0), end: hour(2), timeZone: 'UTC' }

const ROUTES: RouteInit[] = [
  route(80, SMS, { callingPrefix: '+346' }),
  route(70, SMS, range('KWD', '', '1.001')),
  route(60, SMS, range('EUR', '1000')),
  route(50, SMS, range('JPY')),
  route(40, SMS, range('EUR', '100', '200')),
  route(20, SMS, { callingPrefix: '+34', transactionType: 'CARD' }),
  route(30, SMS, { transactionType: 'CARD' }),
  route(15, SMS, { customerSegment: 'BUSINESS', country: 'GB' }),
  route(16, SMS, { customerSegment: 'BUSINESS', timeWindow: { ...HOURS, start: hour(4), end: hour(5) } }),
  route(17, SMS, { customerSegment: 'BUSINESS', timeWindow: HOURS }),
  route(1000, SMS),
]

let app: App
let version: number
/** A replica that started with the rows above. */
let routed: Awaited<ReturnType<App['replica']>>
beforeAll(async () => {
  app = await startApp()
  version = await publish(app, ROUTES)
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
  ['a segment and a country match', UK, '', 'EUR 99', '15', 'BUSINESS'],
  ['only the segment and the hour match', MADRID, '', 'EUR 99', '17', 'BUSINESS'],
  ['a segment is another in lower case', UK, '', 'EUR 99', '1000', 'business'],
])(
  'when %s, the first row that matches is taken',
  async (_, phoneNumber, transactionType, amount, priority, segment = '') => {
    const { signature, challenge } = await routed.client.startSignature(
      startRequest({
        phoneNumber,
        customerSegment: segment,
        transaction: transaction({ transactionType, amount: money(amount) }),
      }),
    )

    expect(challenge).toMatchObject({ routePriority: Number(priority), routingTableVersion: version, passedOver: [] })
    const { signature: withTimeline } = await routed.client.getSignature({ signatureId: signature?.id ?? '' })
    expect(withTimeline?.timeline[0]).toMatchObject({
      type: TimelineEventType.SIGNATURE_STARTED,
      details: { route: priority, routing_table_version: String(version) },
    })
    expect(await row(app, 'challenge', challenge?.id ?? '')).toMatchObject({ route: { priority: Number(priority) } })
    expect(app.sandbox.messages[0]).toMatchObject({ provider: 'twilio-sms', to: phoneNumber })
  },
)

test('the row that matched is kept with the challenge as it was then', async () => {
  await using own = await startApp()
  const then = await publish(own, ROUTES)
  const { challenge } = await own.client.startSignature(
    startRequest({ phoneNumber: UK, transaction: transaction({ amount: money('EUR 150') }) }),
  )
  await publish(own, [route(40, SMS, range('EUR', '100', '175'))])

  expect(await row(own, 'challenge', challenge?.id ?? '')).toMatchObject({
    channel: 'SMS',
    provider: 'twilio-sms',
    routing_table_version: then,
    route: {
      priority: 40,
      match: {
        channel: null,
        country: null,
        callingPrefix: null,
        transactionType: null,
        customerSegment: null,
        amount: { currency: 'EUR', min: '100', max: '200' },
        timeWindow: null,
      },
      channels: [{ channel: 'SMS', providers: [{ provider: 'twilio-sms', weight: 1 }] }],
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

test('a row for those who ask for its channel serves nobody else', async () => {
  await using own = await startApp()
  await publish(own, [route(1, { VOICE: ['twilio-voice'] }, { channel: Channel.VOICE }), route(2, SMS)])
  const asked = await own.client.startSignature(startRequest({ channel: Channel.VOICE }))
  expect(asked.challenge).toMatchObject({ provider: 'twilio-voice', routePriority: 1 })
  const open = await own.client.startSignature(startRequest())
  expect(open.challenge).toMatchObject({ provider: 'twilio-sms', routePriority: 2 })
})

test('where no row matches, nothing is stored and nothing is sent', async () => {
  await using own = await startApp()
  await publish(own, [
    route(1, SMS, { callingPrefix: '+44' }),
    route(2, SMS, { transactionType: 'CARD' }),
    route(3, SMS, range('USD')),
    route(4, SMS, range('EUR', '125.51')),
    route(5, SMS, { customerSegment: 'BUSINESS' }),
    route(6, SMS, { timeWindow: { ...HOURS, start: hour(4), end: hour(5) } }),
  ])
  await expectNoRoute(own, {})
  await expectNoRoute(await own.replica(), {})
  expect(await own.db.selectFrom('signature').selectAll().execute()).toEqual([])
})

test('without any version of a table nothing can be started', async () => {
  await using own = await startApp()
  await own.db.deleteFrom('routing_table').execute()
  await expectNoRoute(await own.replica(), {})
})

test('a table that names an unknown provider stops the start of a replica, which leaves nothing behind', async () => {
  await using own = await startApp()
  await forceTable(own, 2, 'twilio-sms', 'acme-sms')
  const before = await connections(own)

  const starting = own.replica()

  await expect(starting).rejects.toThrow(
    'the route with priority 7 names "acme-sms" for SMS; there is only twilio-sms for SMS, twilio-voice for VOICE, ' +
      'vonage-sms for SMS, fcm-push for PUSH',
  )
  await vi.waitFor(async () => expect(await connections(own)).toBeLessThanOrEqual(before), 10_000)
})

test('a table that names a provider for another channel than its own stops the start of a replica', async () => {
  await using own = await startApp()
  await forceTable(own, 2, 'twilio-voice')
  await expect(own.replica()).rejects.toThrow('the route with priority 7 names "twilio-voice" for SMS; there is only')
})

test('a replica without the credentials for a provider of the table does not start', async () => {
  await using own = await startApp()
  await publish(own, [route(3, { SMS: ['vonage-sms'] })])
  await expect(own.replica({ VONAGE_API_KEY: '', VONAGE_API_SECRET: '', VONAGE_FROM: '' })).rejects.toThrow(
    'the route with priority 3 names "vonage-sms" for SMS; there is only twilio-sms for SMS, twilio-voice for VOICE, ' +
      'fcm-push for PUSH',
  )
})

/** Reads "EUR 99.99". */
function money(text: string) {
  const [currencyCode = '', decimal = ''] = text.split(' ')
  const [units = '', fraction = ''] = decimal.split('.')
  return { currencyCode, units: BigInt(units), nanos: Number(fraction.padEnd(9, '0')) }
}

/** The beginning of the hour that is so many hours from now, in UTC. */
function hour(fromNow: number): string {
  return `${new Date(Date.now() + fromNow * 3_600_000).toISOString().slice(11, 13)}:00`
}

async function expectNoRoute(
  { client, db, sandbox }: Pick<App, 'client' | 'db' | 'sandbox'>,
  fields: { channel?: Channel },
): Promise<void> {
  const idempotencyKey = randomUUID()
  const messages = sandbox.messages.length

  expect(await failure(client.startSignature(startRequest({ ...fields, idempotencyKey })))).toMatchObject({
    code: Code.FailedPrecondition,
    reason: 'NO_ROUTE',
  })

  const claim = db.selectFrom('idempotency_key').where('key', '=', idempotencyKey).selectAll()
  expect(await claim.execute()).toEqual([])
  expect(sandbox.messages).toHaveLength(messages)
}

async function connections({ db }: Pick<App, 'db'>): Promise<number> {
  const { rows } = await sql<{ n: number }>`
    SELECT count(*)::int AS n FROM pg_stat_activity WHERE datname = current_database() AND backend_type = 'client backend'
  `.execute(db)
  return rows[0]?.n ?? -1
}
