import { timestampDate } from '@bufbuild/protobuf/wkt'
import { Code } from '@connectrpc/connect'
import { afterAll, beforeAll, expect, test } from 'vitest'
import {
  type PublishRoutingTableRequestSchema,
  type RouteMatchSchema,
  Weekday,
} from '../../gen/bank/signature/v1/routing_pb.ts'
import { Channel, PassReason } from '../../gen/bank/signature/v1/signature_pb.ts'
import { type App, failure, type Init, row, startApp, startRequest } from '../support/app.ts'
import { type Chain, EVERY_MATCH, publish, type RouteInit, route } from '../support/routing.ts'

const OPS = { author: 'ops@bank.example', reason: 'Vonage is cheaper' }
const SMS = { SMS: ['twilio-sms'] } satisfies Chain

let app: App
beforeAll(async () => {
  app = await startApp()
})
afterAll(() => app[Symbol.asyncDispose]())

test('versions count up, each with who, why and when, and none is ever changed', async () => {
  await using own = await startApp()
  const [first] = await versions(own)
  const second = { replacesVersion: 1, author: 'ana@bank.example', reason: 'a first table', routes: EVERY_MATCH }
  const third = { replacesVersion: 2, ...OPS, routes: [route(9, { SMS: ['vonage-sms'] })] }

  const { routingTable } = await own.routing.publishRoutingTable(second)
  await own.routing.publishRoutingTable(third)

  const [, stored, last] = await versions(own)
  expect(await versions(own)).toHaveLength(3)
  expect((await versions(own))[0]).toEqual(first)
  expect(stored).toMatchObject({ version: 2, author: second.author, reason: second.reason })
  expect(last).toMatchObject({ version: 3, ...OPS })
  expect(routingTable).toMatchObject({ version: 2, author: second.author, reason: second.reason, routes: EVERY_MATCH })
  expect(routingTable?.publishTime && timestampDate(routingTable.publishTime)).toEqual(stored?.published_at)
  expect(Math.abs(Date.now() - Number(stored?.published_at))).toBeLessThan(60_000)
  expect((await own.routing.getRoutingTable({ version: 2 })).routingTable).toEqual(routingTable)
})

test('rows are kept by priority, in whatever order they were sent', async () => {
  const routes = [route(30, SMS), route(10, SMS, { country: 'ES' }), route(20, SMS, { country: 'FR' })]
  const version = await publish(app, routes)

  const { routingTable } = await app.routing.getRoutingTable({ version })
  expect(routingTable?.routes.map(({ priority }) => priority)).toEqual([10, 20, 30])
})

test('a table that replaces another than the one in force is a conflict, and nothing is stored', async () => {
  const current = await publish(app, [route(1, SMS)])
  for (const replacesVersion of [current - 1, current + 1, 0, 2_147_483_647]) {
    const refused = await failure(app.routing.publishRoutingTable({ ...OPS, replacesVersion, routes: [route(2, SMS)] }))
    expect(refused).toMatchObject({
      code: Code.Aborted,
      reason: 'ROUTING_TABLE_CONFLICT',
      metadata: { current_version: String(current) },
    })
  }
  expect((await versions(app)).at(-1)?.version).toBe(current)
})

test.each([2, 10])('of %i publishers at once, over two replicas, exactly one wins', async (count) => {
  const other = await app.replica()
  for (let round = 0; round < 5; round++) {
    const current = await publish(app, [route(1, SMS)])

    const answers = await Promise.allSettled(
      Array.from({ length: count }, (_, index) =>
        (index % 2 ? other : app).routing.publishRoutingTable({
          author: `publisher ${index}`,
          reason: 'a race',
          replacesVersion: current,
          routes: [route(index + 1, SMS)],
        }),
      ),
    )

    const won = answers.filter(({ status }) => status === 'fulfilled')
    expect(won).toHaveLength(1)
    for (const answer of answers.filter(({ status }) => status === 'rejected')) {
      expect(await failure(Promise.reject((answer as PromiseRejectedResult).reason))).toMatchObject({
        code: Code.Aborted,
        reason: 'ROUTING_TABLE_CONFLICT',
        metadata: { current_version: String(current + 1) },
      })
    }
    const index = answers.findIndex(({ status }) => status === 'fulfilled')
    const last = (await versions(app)).at(-1)
    expect(last).toMatchObject({
      version: current + 1,
      author: `publisher ${index}`,
      routes: [{ priority: index + 1 }],
    })
  }
})

test('a table with many problems is refused whole, each named by row and field, and the old one stays', async () => {
  const before = await publish(app, [route(5, SMS)])
  const refused = await failure(
    app.routing.publishRoutingTable({
      replacesVersion: -1,
      author: ' ',
      reason: '',
      routes: [
        route(0, { SMS: ['acme-sms'] }, { country: 'XX', callingPrefix: '+34' }),
        route(7, { SMS: [['twilio-sms', 0]], VOICE: [] }, { channel: Channel.VOICE, customerSegment: 'x'.repeat(65) }),
        route(7, { PUSH: ['fcm-push', 'twilio-sms'] }, { amount: { currencyCode: 'EUR', min: '2', max: '1' } }),
        { priority: 8, channels: [] },
        { priority: 9, channels: [sms(), sms()], match: { timeWindow: { start: '24:00', end: '6:00' } } },
      ],
    }),
  )

  expect(refused).toMatchObject({ code: Code.InvalidArgument, reason: 'INVALID_FIELD' })
  expect(refused.fields).toEqual([
    'replaces_version',
    'author',
    'reason',
    'routes[0].priority',
    'routes[0].match.country',
    'routes[0].match.calling_prefix',
    'routes[0].channels[0].providers[0].provider',
    'routes[1].match.channel',
    'routes[1].match.customer_segment',
    'routes[1].channels[0].providers',
    'routes[1].channels[1].providers',
    'routes[2].priority',
    'routes[2].match.amount.max',
    'routes[2].channels[0].providers[1].provider',
    'routes[3].channels',
    'routes[4].match.time_window.start',
    'routes[4].match.time_window.end',
    'routes[4].match.time_window.time_zone',
    'routes[4].channels[1].channel',
  ])
  expect((await versions(app)).at(-1)?.version).toBe(before)
  const { challenge } = await app.client.startSignature(startRequest())
  expect(challenge).toMatchObject({ routingTableVersion: before, routePriority: 5, provider: 'twilio-sms' })
})

type Request = Init<typeof PublishRoutingTableRequestSchema>
const matched = (match: Init<typeof RouteMatchSchema>): Request => ({ routes: [route(1, SMS, match)] })
const chained = (chain: Chain): Request => ({ routes: [route(1, chain)] })
const PROVIDERS = 'routes[0].channels[0].providers'
const WINDOW = { start: '08:00', end: '09:00', timeZone: 'UTC' }

test.each<[string, string, Request]>([
  ['an unknown provider', `${PROVIDERS}[1].provider`, chained({ SMS: ['twilio-sms', 'acme-sms'] })],
  ['a provider of another channel', `${PROVIDERS}[0].provider`, chained({ VOICE: ['twilio-sms'] })],
  [
    'no channel',
    'routes[0].channels[0].channel',
    { routes: [{ priority: 1, channels: [{ ...sms(), channel: Channel.UNSPECIFIED }] }] },
  ],
  [
    'a channel that is none',
    'routes[0].channels[0].channel',
    {
      routes: [
        { priority: 1, channels: [{ channel: 9 as Channel, providers: [{ provider: 'twilio-sms', weight: 1 }] }] },
      ],
    },
  ],
  ['a match on a channel that is none', 'routes[0].match.channel', matched({ channel: 9 as Channel })],
  [
    'a day that is none',
    'routes[0].match.time_window.weekdays',
    matched({ timeWindow: { ...WINDOW, weekdays: [Weekday.UNSPECIFIED] } }),
  ],
  [
    'an unknown day',
    'routes[0].match.time_window.weekdays',
    matched({ timeWindow: { ...WINDOW, weekdays: [8 as Weekday] } }),
  ],
  [
    'a day twice',
    'routes[0].match.time_window.weekdays',
    matched({ timeWindow: { ...WINDOW, weekdays: [Weekday.FRIDAY, Weekday.FRIDAY] } }),
  ],
  ['a negative version', 'replaces_version', { replacesVersion: -1, routes: [route(1, SMS)] }],
  ['no rows', 'routes', { routes: [] }],
  ['1,001 rows', 'routes', { routes: rows(1_001) }],
  [
    'a weight below 0',
    `${PROVIDERS}[0].weight`,
    chained({
      SMS: [
        ['twilio-sms', -1],
        ['vonage-sms', 1],
      ],
    }),
  ],
  ['a weight above 1,000', `${PROVIDERS}[0].weight`, chained({ SMS: [['twilio-sms', 1_001]] })],
  ['a provider twice', `${PROVIDERS}[1].provider`, chained({ SMS: ['twilio-sms', 'twilio-sms'] })],
  ['a priority above 1,000,000', 'routes[0].priority', { routes: [route(1_000_001, SMS)] }],
  ['a row that an earlier one shadows', 'routes[1]', { routes: [route(1, SMS), route(2, SMS, { country: 'ES' })] }],
  ['a NUL in a match', 'routes[0].match.transaction_type', matched({ transactionType: 'CARD\0' })],
  ['an author of 129 characters', 'author', { author: 'x'.repeat(129), routes: [route(1, SMS)] }],
  ['a reason of 501 characters', 'reason', { reason: 'x'.repeat(501), routes: [route(1, SMS)] }],
  ['a NUL in the reason', 'reason', { reason: 'why\0', routes: [route(1, SMS)] }],
])('%s is refused', async (_, field, request) => {
  const current = (await versions(app)).length
  const refused = await failure(app.routing.publishRoutingTable({ replacesVersion: current, ...OPS, ...request }))
  expect(refused).toMatchObject({ code: Code.InvalidArgument, reason: 'INVALID_FIELD', fields: [field] })
  expect(await versions(app)).toHaveLength(current)
})

test('the greatest of everything is taken', async () => {
  const replacesVersion = (await versions(app)).length
  const author = 'ä'.repeat(128)
  const reason = '🏦'.repeat(500)
  const routes = [
    ...rows(999),
    route(
      1_000_000,
      {
        SMS: [
          ['twilio-sms', 1_000],
          ['vonage-sms', 1_000],
        ],
        VOICE: ['twilio-voice'],
        PUSH: ['fcm-push'],
      },
      {
        transactionType: 'x'.repeat(64),
        customerSegment: 'y'.repeat(64),
        amount: { currencyCode: 'EUR', min: '0.000000001', max: '999999999999999999.999999999' },
      },
    ),
  ]

  const { routingTable } = await app.routing.publishRoutingTable({ replacesVersion, author, reason, routes })

  expect(routingTable).toMatchObject({ version: replacesVersion + 1, author, reason })
  expect(routingTable?.routes).toHaveLength(1_000)
  expect(routingTable?.routes.at(-1)).toMatchObject(routes.at(-1) ?? {})
})

test('another replica obeys a new version before its next poll, as it is told of it', async () => {
  await publish(app, [route(100, SMS)])
  const other = await app.replica()
  const tookMs: number[] = []
  for (let round = 0; round < 7; round++) {
    const version = await publish(app, [route(round + 1, SMS)])
    const answeredAt = performance.now()

    let ruling: number | undefined
    while (ruling !== version) {
      const { challenge } = await other.client.startSignature(startRequest())
      ruling = challenge?.routingTableVersion
      if (ruling === version) expect(challenge?.routePriority).toBe(round + 1)
    }
    tookMs.push(performance.now() - answeredAt)
  }
  // Each round begins as the one before is obeyed, so without notices it would last until the next poll, for 500 ms.
  expect(Math.min(...tookMs.slice(1))).toBeLessThan(250)
})

test('every challenge keeps the version, its row as it was then, and who was passed over', async () => {
  const chain = { PUSH: ['fcm-push'], SMS: ['vonage-sms'] } satisfies Chain
  const version = await publish(app, [route(3, chain, { country: 'ES' }), route(4, SMS)])
  const { challenge } = await app.client.startSignature(startRequest())
  await publish(app, [route(3, SMS)])

  const passed = { provider: 'fcm-push', reason: 'NO_PUSH_TOKEN' }
  expect(await row(app, 'challenge', challenge?.id ?? '')).toMatchObject({
    provider: 'vonage-sms',
    routing_table_version: version,
    route: { priority: 3, match: { country: 'ES' }, channels: [{ channel: 'PUSH' }, { channel: 'SMS' }] },
    passed_over: [{ ...passed, channel: 'PUSH' }],
  })
  const read = await app.client.getChallenge({ challengeId: challenge?.id ?? '' })
  expect(read.challenge).toMatchObject({
    routingTableVersion: version,
    routePriority: 3,
    passedOver: [{ ...passed, channel: Channel.PUSH, reason: PassReason.NO_PUSH_TOKEN }],
  })
})

/** A step for text messages. */
function sms() {
  return { channel: Channel.SMS, providers: [{ provider: 'twilio-sms', weight: 1 }] }
}

/** So many rows of which none shadows another. */
function rows(count: number): RouteInit[] {
  return Array.from({ length: count }, (_, index) => route(index + 1, SMS, { callingPrefix: `+${10_000 + index}` }))
}

async function versions({ db }: Pick<App, 'db'>) {
  return db.selectFrom('routing_table').selectAll().orderBy('version').execute()
}
