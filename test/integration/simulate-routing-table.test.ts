import { randomUUID } from 'node:crypto'
import { Code } from '@connectrpc/connect'
import { sql } from 'kysely'
import { v7 as uuidv7 } from 'uuid'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { Channel, type StartSignatureRequestSchema } from '../../gen/bank/signature/v1/signature_pb.ts'
import { loadConfig } from '../../src/config.ts'
import { readTransaction } from '../../src/db/stored-transaction.ts'
import { seal } from '../../src/domain/sealed.ts'
import { transactionDigest } from '../../src/domain/transaction.ts'
import { type App, failure, type Init, PHONE, startApp, startRequest, transaction } from '../support/app.ts'
import { publish, type RouteInit, route } from '../support/routing.ts'
import { seededRandom } from '../support/seeded-random.ts'

let app: App
beforeAll(async () => {
  app = await startApp()
})
afterAll(() => app[Symbol.asyncDispose]())

const SEGMENTS = ['', 'BUSINESS', 'PRIVATE']
const CHANNELS = [Channel.UNSPECIFIED, Channel.UNSPECIFIED, Channel.SMS, Channel.VOICE, Channel.PUSH]
const PHONES = ['+34600', '+34911', '+4477009', '+33612']

/** Serves everybody. */
const NOW: RouteInit[] = [
  route(10, { SMS: [weighted('twilio-sms', 70), weighted('vonage-sms', 30)] }, { country: 'ES' }),
  route(20, { PUSH: ['fcm-push'], SMS: ['vonage-sms'] }, { customerSegment: 'BUSINESS' }),
  route(30, { VOICE: ['twilio-voice'] }, { callingPrefix: '+44' }),
  route(40, { SMS: [weighted('twilio-sms', 50), weighted('vonage-sms', 50)] }),
  route(50, { VOICE: ['twilio-voice'], SMS: ['twilio-sms'] }),
  route(60, { PUSH: ['fcm-push'], SMS: ['twilio-sms'] }),
]
/** Leaves some without a row, and some with nothing but a push that they can't get. */
const DRAFT: RouteInit[] = [
  route(5, { PUSH: ['fcm-push'] }, { callingPrefix: '+33' }),
  route(10, { SMS: [weighted('twilio-sms', 20), weighted('vonage-sms', 80)] }, { country: 'ES' }),
  route(15, { SMS: ['twilio-sms'] }, { amount: { currencyCode: 'EUR', min: '500', max: '' } }),
  route(20, { SMS: ['vonage-sms'] }, { customerSegment: 'PRIVATE' }),
  route(30, { PUSH: ['fcm-push'], VOICE: ['twilio-voice'] }, { transactionType: 'CARD' }),
  route(40, { VOICE: ['twilio-voice'] }, { country: 'GB' }),
]

test('it agrees with what really happens once the draft is published, for 80 signatures', async () => {
  const random = seededRandom(11)
  const requests = Array.from({ length: 80 }, () => randomStart(random))
  const inForce = await publish(app, NOW)
  const before = await firstProviders(requests)
  expect(before).not.toContain('')
  const stored = await app.db.selectFrom('signature').select('id').execute()

  const simulated = await app.routing.simulateRoutingTable({ routes: DRAFT })

  expect(simulated).toMatchObject({ signatures: 80 })
  expect((await app.routing.getRoutingTable({})).routingTable?.version).toBe(inForce)
  expect(await app.db.selectFrom('signature').select('id').execute()).toEqual(stored)
  expect(app.sandbox.messages).toHaveLength(80)

  await publish(app, DRAFT)
  const refusals = new Set<string>()
  const again = requests.map((request) => ({ ...request, idempotencyKey: randomUUID() }))
  const after = await firstProviders(again, refusals)
  expect([...refusals].toSorted()).toEqual(['NO_PUSH_TOKEN', 'NO_ROUTE'])
  const real = new Map<string, number>()
  for (const [index, from] of before.entries()) {
    const move = `${from} > ${after[index]}`
    real.set(move, (real.get(move) ?? 0) + 1)
  }
  const [stays, moves] = [...real].reduce<[number, Record<string, number>]>(
    ([stay, moved], [move, count]) => {
      const [from, to] = move.split(' > ')
      return from === to ? [stay + count, moved] : [stay, { ...moved, [move]: count }]
    },
    [0, {}],
  )
  expect(simulated.unmoved).toBe(stays)
  expect(Object.fromEntries(simulated.moves.map((m) => [`${m.fromProvider} > ${m.toProvider}`, m.signatures]))).toEqual(
    moves,
  )
  const counts = simulated.moves.map(({ signatures }) => signatures)
  expect(counts).toEqual(counts.toSorted((a, b) => b - a))
  expect(counts.length).toBeGreaterThan(6)
  expect(stays).toBeGreaterThan(10)
  expect(Object.keys(moves).some((move) => move.endsWith('> '))).toBe(true)
})

test('the table in force moves nothing', async () => {
  await using own = await startApp()
  await publish(own, NOW)
  for (let index = 0; index < 5; index++) await own.client.startSignature(randomStart(seededRandom(index)))
  expect(await own.routing.simulateRoutingTable({ routes: NOW })).toMatchObject({
    signatures: 5,
    unmoved: 5,
    moves: [],
  })
})

test('without signatures there is nothing to tell', async () => {
  await using own = await startApp()
  const answer = await own.routing.simulateRoutingTable({ routes: DRAFT })
  expect(answer).toMatchObject({ signatures: 0, unmoved: 0, moves: [] })
})

test('a row of hours is asked for the hour at which each signature started', async () => {
  await using own = await startApp()
  await own.client.startSignature(startRequest())
  await own.client.startSignature(startRequest())
  const night = { start: '03:00', end: '04:00', timeZone: 'UTC' }
  const [first] = await own.db.selectFrom('signature').select('id').orderBy('id').execute()
  const started = { created_at: new Date('2026-01-05T03:59:59Z') }
  await own.db
    .updateTable('signature')
    .set(started)
    .where('id', '=', first?.id ?? '')
    .execute()
  const other = { created_at: new Date('2026-01-05T04:00:00Z') }
  await own.db
    .updateTable('signature')
    .set(other)
    .where('id', '<>', first?.id ?? '')
    .execute()

  const routes = [route(1, { SMS: ['vonage-sms'] }, { timeWindow: night }), route(2, { SMS: ['twilio-sms'] })]

  expect(await own.routing.simulateRoutingTable({ routes })).toMatchObject({
    unmoved: 1,
    moves: [{ fromProvider: 'twilio-sms', toProvider: 'vonage-sms', signatures: 1 }],
  })
})

test('where no row matches, the provider is empty, before and after', async () => {
  await using own = await startApp()
  await own.client.startSignature(startRequest())
  const abroad = [route(1, { SMS: ['twilio-sms'] }, { country: 'FR' })]
  const [move] = (await own.routing.simulateRoutingTable({ routes: abroad })).moves
  expect(move).toMatchObject({ fromProvider: 'twilio-sms', toProvider: '', signatures: 1 })

  await publish(own, abroad)
  const back = await own.routing.simulateRoutingTable({ routes: [route(1, { SMS: ['vonage-sms'] })] })
  expect(back.moves).toMatchObject([{ fromProvider: '', toProvider: 'vonage-sms', signatures: 1 }])
  expect(await own.routing.simulateRoutingTable({ routes: abroad })).toMatchObject({ unmoved: 1, moves: [] })
})

test('of 1,203 signatures it takes the latest, each once, over the edges of pages', async () => {
  await using own = await startApp()
  await own.client.startSignature(startRequest())
  await copySignatures(own, 1_202)
  const routes = [route(1, { SMS: ['vonage-sms'] }, { transactionType: 'MOVED' }), route(2, { SMS: ['twilio-sms'] })]

  for (const [signatures, expected] of [
    [0, 1_000],
    [1, 1],
    [499, 499],
    [500, 500],
    [501, 501],
    [1_000, 1_000],
    [10_000, 1_203],
  ] as const) {
    const answer = await own.routing.simulateRoutingTable({ routes, signatures })
    expect(answer).toMatchObject({ signatures: expected })
    // The 600 latest copies are those that move.
    const moved = Math.min(expected, 600)
    expect(answer.unmoved).toBe(expected - moved)
    expect(answer.moves.map(({ signatures }) => signatures)).toEqual([moved])
  }
})

test('it lets other work have its turn, and is done for one caller at a time', async () => {
  await using own = await startApp()
  await own.client.startSignature(startRequest())
  await copySignatures(own, 300)
  // The hour in each zone is worked out anew for each of them.
  await sql`UPDATE signature SET created_at = now() - (random() * 1e6) * interval '1 minute'`.execute(own.db)
  const zones = Intl.supportedValuesOf('timeZone')
  const routes = zones.map((timeZone, index) =>
    route(index + 1, { SMS: ['vonage-sms'] }, { timeWindow: { start: '03:00', end: '03:01', timeZone } }),
  )
  const startedAt = performance.now()
  let longestMs = 0
  let lastAt = startedAt
  const turn = () => {
    longestMs = Math.max(longestMs, performance.now() - lastAt)
    lastAt = performance.now()
    if (simulating) setImmediate(turn)
  }
  let simulating = true
  turn()

  const simulated = await Promise.all([1, 2].map(() => failureOrSize(own, routes)))

  simulating = false
  expect(longestMs).toBeLessThan((performance.now() - startedAt) / 3)
  expect(simulated).toEqual(
    expect.arrayContaining([
      301,
      expect.objectContaining({ code: Code.Unavailable, reason: 'OVERLOADED', retryDelayMs: 1_000 }),
    ]),
  )
  expect(await failureOrSize(own, routes.slice(0, 1))).toBe(301)
})

test('a draft with problems is refused whole, each named, together with the wrong limit', async () => {
  const refused = await failure(
    app.routing.simulateRoutingTable({
      signatures: 10_001,
      routes: [route(0, { SMS: ['acme-sms'] }), route(1, { SMS: ['twilio-sms'] }, { country: 'XX' })],
    }),
  )
  expect(refused).toMatchObject({
    code: Code.InvalidArgument,
    reason: 'INVALID_FIELD',
    fields: [
      'routes[0].priority',
      'routes[0].channels[0].providers[0].provider',
      'routes[1].match.country',
      'signatures',
    ],
  })
  const none = await failure(app.routing.simulateRoutingTable({ signatures: -1 }))
  expect(none).toMatchObject({ code: Code.InvalidArgument, fields: ['routes', 'signatures'] })
})

/** How many signatures were looked at, or why none. */
async function failureOrSize({ routing }: App, routes: RouteInit[]) {
  const simulating = routing.simulateRoutingTable({ routes })
  return simulating.then(
    ({ signatures }) => signatures,
    () => failure(simulating),
  )
}

/** Starts each and gives the provider that it was sent over; empty for those that nothing would serve. */
async function firstProviders(
  requests: Init<typeof StartSignatureRequestSchema>[],
  refusals = new Set<string>(),
): Promise<string[]> {
  const providers: string[] = []
  for (const request of requests) {
    const started = app.client.startSignature(request)
    const provider = await started.then(
      ({ challenge }) => challenge?.provider ?? '?',
      async () => {
        const { reason, metadata } = await failure(started)
        refusals.add(metadata.provider_error_code ?? reason ?? '')
        return ''
      },
    )
    if (provider) expect(app.sandbox.messages[0]).toMatchObject({ provider })
    providers.push(provider)
  }
  return providers
}

function randomStart(random: (below: number) => number): Init<typeof StartSignatureRequestSchema> {
  const pushToken = random(2) ? { pushToken: `token-${random(1_000)}` } : {}
  return startRequest({
    phoneNumber: `${PHONES[random(PHONES.length)]}${100_000 + random(900_000)}`.slice(0, 12),
    channel: CHANNELS[random(CHANNELS.length)] ?? Channel.UNSPECIFIED,
    customerSegment: SEGMENTS[random(SEGMENTS.length)] ?? '',
    transaction: transaction({
      transactionType: random(2) ? 'CARD' : 'SEPA_CREDIT_TRANSFER',
      amount: { currencyCode: random(3) ? 'EUR' : 'USD', units: BigInt(1 + random(1_000)) },
      reference: `order ${random(1_000_000)}`,
    }),
    ...pushToken,
  })
}

/** Copies the one signature there is, each copy later than the one before; the last 600 are of another type. */
async function copySignatures(own: App, count: number): Promise<void> {
  const { keys } = await loadConfig(own.env)
  if (!keys) throw new Error('no keys')
  const original = await own.db.selectFrom('signature').selectAll().executeTakeFirstOrThrow()
  const copies = Array.from({ length: count }, (_, index) => {
    const id = uuidv7()
    const { keyId, ciphertext } = seal(keys.pii, PHONE, id)
    const transaction_type = index < count - 600 ? 'SEPA_CREDIT_TRANSFER' : 'MOVED'
    const transaction_digest = transactionDigest({ ...readTransaction(original), transactionType: transaction_type })
    return { ...original, id, phone_key_id: keyId, phone_ciphertext: ciphertext, transaction_type, transaction_digest }
  })
  await own.db.insertInto('signature').values(copies).execute()
}

function weighted(provider: string, weight: number): [string, number] {
  return [provider, weight]
}
