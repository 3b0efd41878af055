import { timestampFromDate } from '@bufbuild/protobuf/wkt'
import { Code } from '@connectrpc/connect'
import { afterAll, beforeAll, expect, test } from 'vitest'
import {
  type ExplainRouteRequestSchema,
  type ExplainRouteResponse,
  ProviderState,
} from '../../gen/bank/signature/v1/routing_pb.ts'
import { Channel, PassReason, type StartSignatureRequestSchema } from '../../gen/bank/signature/v1/signature_pb.ts'
import { type App, failure, type Init, PHONE, startApp, startRequest, transaction } from '../support/app.ts'
import { EVERY_MATCH, publish, route } from '../support/routing.ts'
import { seededRandom } from '../support/seeded-random.ts'

type Explain = Init<typeof ExplainRouteRequestSchema>

const OPS = { author: 'ops@bank.example', reason: 'an outage' }
/** A Monday at 01:30 in Madrid. */
const NIGHT = timestampFromDate(new Date('2026-01-04T23:30:00Z'))
const NOON = timestampFromDate(new Date('2026-01-05T12:00:00Z'))

let app: App
beforeAll(async () => {
  app = await startApp()
})
afterAll(() => app[Symbol.asyncDispose]())

test('it tells the row, its providers in order, and what of each earlier row does not hold', async () => {
  const version = await publish(app, EVERY_MATCH)
  const answer = await explain({ time: NOON, transaction: transaction({ transactionType: 'CARD' }) })
  expect(answer).toMatchObject({
    version,
    route: EVERY_MATCH[4],
    providers: [{ provider: 'twilio-sms', channel: Channel.SMS, passReason: PassReason.UNSPECIFIED }],
    unmetRoutes: [
      { priority: 10, unmet: ['customer_segment: BUSINESS'] },
      { priority: 20, unmet: ['channel: VOICE'] },
      { priority: 30, unmet: ['time_window: MONDAY SUNDAY 22:00 to 06:00 Europe/Madrid'] },
      { priority: 40, unmet: ['amount: 0 to any USD'] },
    ],
  })
})

test('everything that keeps a row from matching is named', async () => {
  await publish(app, EVERY_MATCH)
  const usd = { currencyCode: 'USD', units: 1n }
  const answer = await explain({ phoneNumber: '+447700900123', time: NOON, transaction: transaction({ amount: usd }) })
  expect(answer.route).toMatchObject({ priority: 40 })
  expect(answer.unmetRoutes).toMatchObject([
    { priority: 10, unmet: ['country: ES', 'customer_segment: BUSINESS'] },
    { priority: 20, unmet: ['calling_prefix: +346', 'channel: VOICE'] },
    {
      priority: 30,
      unmet: [
        'transaction_type: CARD',
        'amount: 0.01 to 1000 EUR',
        'time_window: MONDAY SUNDAY 22:00 to 06:00 Europe/Madrid',
      ],
    },
  ])
})

test('a given time decides by its own hour, channel by channel', async () => {
  await publish(app, EVERY_MATCH)
  const answer = await explain({ time: NIGHT, transaction: transaction({ transactionType: 'CARD' }) })
  expect(answer).toMatchObject({
    route: { priority: 30 },
    providers: [
      { provider: 'fcm-push', channel: Channel.PUSH, passReason: PassReason.NO_PUSH_TOKEN },
      { provider: 'vonage-sms', channel: Channel.SMS, passReason: PassReason.UNSPECIFIED },
      { provider: 'twilio-sms', channel: Channel.SMS, passReason: PassReason.UNSPECIFIED },
      { provider: 'twilio-voice', channel: Channel.VOICE, passReason: PassReason.UNSPECIFIED },
    ],
  })
  const withToken = await explain({ time: NIGHT, hasPushToken: true, transaction: card() })
  expect(withToken.providers.map(({ passReason }) => passReason)).toEqual([0, 0, 0, 0])
})

test('without a time it is now', async () => {
  const hour = (offset: number) => new Date(Date.now() + offset * 3_600_000).toISOString().slice(11, 13)
  const window = (from: number, to: number) => ({ start: `${hour(from)}:00`, end: `${hour(to)}:00`, timeZone: 'UTC' })
  await publish(app, [
    route(1, { SMS: ['twilio-sms'] }, { timeWindow: window(3, 4) }),
    route(2, { SMS: ['twilio-sms'] }, { timeWindow: window(-1, 2) }),
  ])
  expect((await explain({})).route).toMatchObject({ priority: 2 })
})

test('a paused provider would be passed over, until it is enabled', async () => {
  await publish(app, [route(1, { SMS: ['vonage-sms', 'twilio-sms'] })])
  const pauseUntil = timestampFromDate(new Date(Date.now() + 60_000))
  await app.routing.setProviderState({ provider: 'vonage-sms', state: ProviderState.PAUSED, pauseUntil, ...OPS })
  expect(passes(await explain({}))).toEqual({ 'vonage-sms': PassReason.PAUSED, 'twilio-sms': PassReason.UNSPECIFIED })

  await app.routing.setProviderState({ provider: 'vonage-sms', state: ProviderState.ENABLED, ...OPS })
  expect(passes(await explain({}))).toEqual({
    'vonage-sms': PassReason.UNSPECIFIED,
    'twilio-sms': PassReason.UNSPECIFIED,
  })
})

test('a given version is asked, whatever is in force', async () => {
  const version = await publish(app, [route(4, { VOICE: ['twilio-voice'] })])
  await publish(app, [route(5, { SMS: ['twilio-sms'] })])
  expect(await explain({ version })).toMatchObject({ version, route: { priority: 4 } })
  expect(await explain({})).toMatchObject({ version: version + 1, route: { priority: 5 } })

  const refused = await failure(explain({ version: version + 2 }))
  expect(refused).toMatchObject({ code: Code.NotFound, reason: 'ROUTING_TABLE_NOT_FOUND' })
})

test('where no row matches there is none, and no providers', async () => {
  await publish(app, [route(1, { SMS: ['twilio-sms'] }, { country: 'FR' })])
  const answer = await explain({})
  expect(answer).toMatchObject({ providers: [], unmetRoutes: [{ priority: 1, unmet: ['country: FR'] }] })
  expect(answer.route).toBeUndefined()
  expect(await failure(app.client.startSignature(startRequest()))).toMatchObject({ reason: 'NO_ROUTE' })
})

test('what it tells is what StartSignature then does, for 60 requests over two equal providers', async () => {
  await using own = await startApp()
  const halves = [
    ['twilio-sms', 50],
    ['vonage-sms', 50],
  ] satisfies [string, number][]
  await publish(own, [
    route(1, { SMS: halves }, { country: 'ES' }),
    route(2, { PUSH: ['fcm-push'], VOICE: ['twilio-voice'] }, { customerSegment: 'BUSINESS' }),
    route(3, { VOICE: ['twilio-voice'] }),
    route(4, { PUSH: ['fcm-push'], SMS: halves }),
  ])
  const random = seededRandom(7)
  const used = new Map<string, number>()

  for (let index = 0; index < 60; index++) {
    const request = randomStart(random)
    const { phoneNumber = '', transaction, customerSegment = '', channel = 0, pushToken } = request
    const asked = { phoneNumber, customerSegment, channel, hasPushToken: pushToken !== undefined }
    const told = await own.routing.explainRoute({ ...asked, ...(transaction && { transaction }) })
    const { challenge } = await own.client.startSignature(request)

    const usable = told.providers.find(({ passReason }) => passReason === PassReason.UNSPECIFIED)
    expect(challenge).toMatchObject({ provider: usable?.provider, channel: usable?.channel })
    expect(challenge).toMatchObject({ routingTableVersion: told.version, routePriority: told.route?.priority })
    expect(own.sandbox.messages[0]).toMatchObject({ provider: usable?.provider })
    expect(own.sandbox.messages).toHaveLength(index + 1)
    used.set(challenge?.provider ?? '', (used.get(challenge?.provider ?? '') ?? 0) + 1)
  }
  expect(used.get('twilio-sms')).toBeGreaterThan(8)
  expect(used.get('vonage-sms')).toBeGreaterThan(8)
  expect([...used.keys()].toSorted()).toEqual(['fcm-push', 'twilio-sms', 'twilio-voice', 'vonage-sms'])
})

test('every wrong field is named at once', async () => {
  const wrong = { phoneNumber: '+4407418084106', channel: 9 as Channel, customerSegment: 'x'.repeat(65), version: -1 }
  const refused = await failure(app.routing.explainRoute({ ...wrong, transaction: transaction({ payeeName: '' }) }))
  expect(refused).toMatchObject({
    code: Code.InvalidArgument,
    reason: 'INVALID_FIELD',
    fields: ['phone_number', 'transaction.payee_name', 'channel', 'customer_segment', 'version'],
  })
  expect(await failure(app.routing.explainRoute({}))).toMatchObject({ fields: ['phone_number', 'transaction'] })
})

test.each([10n ** 15n, -(10n ** 15n)])('a time that is none is refused: %i seconds', async (seconds) => {
  await publish(app, EVERY_MATCH)
  const refused = await failure(explain({ time: { seconds, nanos: 0 }, transaction: card() }))
  expect(refused).toMatchObject({ code: Code.InvalidArgument, fields: ['time'] })
})

test('nothing is stored, nothing is sent, and neither answer nor log holds the phone number', async () => {
  await using own = await startApp()
  await publish(own, [
    route(1, { SMS: ['twilio-sms'] }, { callingPrefix: '+34700' }),
    route(2, { SMS: ['vonage-sms'] }),
  ])
  const answer = await own.routing.explainRoute({ phoneNumber: PHONE, transaction: transaction() })

  expect(JSON.stringify(answer)).not.toContain(PHONE.slice(-9))
  expect(JSON.stringify(own.logs)).not.toContain(PHONE.slice(-9))
  for (const table of ['signature', 'challenge', 'idempotency_key', 'timeline'] as const) {
    expect(await own.db.selectFrom(table).selectAll().execute()).toEqual([])
  }
  expect(own.sandbox.calls.filter(({ provider }) => provider !== 'fcm-push')).toEqual([])
  expect(own.sandbox.messages).toEqual([])
})

async function explain(fields: Explain) {
  return app.routing.explainRoute({ phoneNumber: PHONE, transaction: transaction(), ...fields })
}

function card() {
  return transaction({ transactionType: 'CARD' })
}

function passes({ providers }: ExplainRouteResponse): Record<string, PassReason> {
  return Object.fromEntries(providers.map(({ provider, passReason }) => [provider, passReason]))
}

function randomStart(random: (below: number) => number): Init<typeof StartSignatureRequestSchema> {
  const pushToken = random(2) ? `token-${random(1_000)}` : undefined
  const isSpanish = random(3) > 0
  return startRequest({
    phoneNumber: `${isSpanish ? '+346' : '+4477'}${String(random(1e8)).padStart(8, '0')}`,
    transaction: transaction({ reference: `order ${random(1_000)}`, amount: { currencyCode: 'EUR', units: 5n } }),
    customerSegment: random(2) ? 'BUSINESS' : '',
    channel: isSpanish ? Channel.UNSPECIFIED : ([Channel.VOICE, Channel.PUSH, Channel.UNSPECIFIED][random(3)] ?? 0),
    ...(pushToken && { pushToken }),
  })
}
