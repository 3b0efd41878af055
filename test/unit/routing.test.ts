import { expect, test } from 'vitest'
import type { Channel } from '../../src/domain/challenge.ts'
import { matchRoute, type Route, type RoutingRequest } from '../../src/domain/routing.ts'
import { seededRandom } from '../support/seeded-random.ts'

function route(priority: number, fields: Partial<Route> = {}): Route {
  return {
    id: `route-${priority}`,
    priority,
    channel: 'SMS',
    callingPrefix: null,
    transactionType: null,
    currency: null,
    minAmount: null,
    maxAmount: null,
    provider: 'twilio-sms',
    enabled: true,
    ...fields,
  }
}

function request(fields: Partial<RoutingRequest> = {}): RoutingRequest {
  return {
    phone: '+34600111222',
    amount: { currency: 'EUR', units: 125n, nanos: 500_000_000 },
    transactionType: 'SEPA_CREDIT_TRANSFER',
    channel: undefined,
    ...fields,
  }
}

function eur(units: bigint, nanos = 0): Partial<RoutingRequest> {
  return { amount: { currency: 'EUR', units, nanos } }
}

function matches(fields: Partial<Route>, asked: Partial<RoutingRequest>): boolean {
  return matchRoute([route(1, fields)], request(asked)) !== undefined
}

test('the row with the lowest priority wins, wherever it stands in the list', () => {
  const [first, second, third] = [route(1), route(20), route(100)]
  for (const routes of [
    [first, second, third],
    [third, second, first],
    [second, first, third],
    [third, first, second],
  ]) {
    expect(matchRoute(routes, request())).toBe(first)
  }
})

test('a row that does not match makes way for the next one', () => {
  const routes = [route(1, { callingPrefix: '+44' }), route(3), route(2, { channel: 'VOICE' })]
  expect(matchRoute(routes, request({ channel: 'SMS' }))?.priority).toBe(3)
})

test('a disabled row is passed over', () => {
  expect(matchRoute([route(1, { enabled: false }), route(2)], request())?.priority).toBe(2)
  expect(matchRoute([route(1, { enabled: false })], request())).toBeUndefined()
})

test('without a row there is no route', () => {
  expect(matchRoute([], request())).toBeUndefined()
})

test('a row without criteria matches every request', () => {
  expect(matches({}, {})).toBe(true)
  expect(matches({}, { phone: '+8613800138000', transactionType: '' })).toBe(true)
  expect(matches({}, { amount: { currency: 'JPY', units: 9_223_372_036_854_775_807n, nanos: 0 } })).toBe(true)
  expect(matches({}, eur(0n, 1))).toBe(true)
})

test('the channel is the one asked for, or any when none is', () => {
  expect(matches({ channel: 'VOICE' }, { channel: 'VOICE' })).toBe(true)
  expect(matches({ channel: 'VOICE' }, { channel: 'SMS' })).toBe(false)
  expect(matches({ channel: 'VOICE' }, { channel: undefined })).toBe(true)
})

test('a calling prefix is how the number begins, of whatever length', () => {
  for (const callingPrefix of ['+3', '+34', '+3460', '+34600111222']) expect(matches({ callingPrefix }, {})).toBe(true)
  for (const callingPrefix of ['+35', '+346001112223', '+1', '+600']) expect(matches({ callingPrefix }, {})).toBe(false)
})

test('a transaction type is matched whole and exactly', () => {
  const transactionType = 'SEPA_CREDIT_TRANSFER'
  expect(matches({ transactionType }, { transactionType })).toBe(true)
  for (const other of ['', 'SEPA', 'sepa_credit_transfer', 'SEPA_CREDIT_TRANSFER_INSTANT']) {
    expect(matches({ transactionType }, { transactionType: other })).toBe(false)
  }
})

test('a currency alone matches any amount in it, and none in another', () => {
  expect(matches({ currency: 'EUR' }, eur(0n, 1))).toBe(true)
  expect(matches({ currency: 'USD' }, eur(125n))).toBe(false)
})

test('both ends of an amount range belong to it, to the billionth', () => {
  const range = { currency: 'EUR', minAmount: '100.500000000', maxAmount: '1000.000000000' }
  expect(matches(range, eur(100n, 499_999_999))).toBe(false)
  expect(matches(range, eur(100n, 500_000_000))).toBe(true)
  expect(matches(range, eur(1_000n))).toBe(true)
  expect(matches(range, eur(1_000n, 1))).toBe(false)
  expect(matches(range, { amount: { currency: 'USD', units: 500n, nanos: 0 } })).toBe(false)
})

test('a range may be open at either end', () => {
  expect(matches({ currency: 'EUR', minAmount: '100' }, eur(9_223_372_036_854_775_807n, 999_999_999))).toBe(true)
  expect(matches({ currency: 'EUR', minAmount: '100' }, eur(99n))).toBe(false)
  expect(matches({ currency: 'EUR', maxAmount: '100' }, eur(0n, 1))).toBe(true)
  expect(matches({ currency: 'EUR', maxAmount: '100' }, eur(101n))).toBe(false)
})

test('amounts are compared as numbers, not as text', () => {
  expect(matches({ currency: 'EUR', minAmount: '9.000000000' }, eur(10n))).toBe(true)
  expect(matches({ currency: 'EUR', maxAmount: '10.000000000' }, eur(9n))).toBe(true)
})

test('any table and request give what a plain search through the sorted table gives', () => {
  const random = seededRandom(7)
  const pick = <T>(...choices: [T, ...T[]]): T => choices[random(choices.length)] ?? choices[0]
  const found = { some: 0, none: 0 }

  for (let round = 0; round < 5_000; round++) {
    // Amounts in cents, so that the reference compares plain numbers.
    const rows = Array.from({ length: random(7) }, () => ({
      order: random(1_000_000),
      channel: pick<Channel>('SMS', 'VOICE', 'PUSH'),
      prefix: pick(null, null, '+3', '+34'),
      type: pick(null, null, 'A'),
      currency: pick(null, null, 'EUR'),
      min: pick(null, null, random(400)),
      max: pick(null, null, random(400)),
      enabled: random(5) > 0,
    }))
    const asked = {
      phone: pick('+34600111222', '+35315550000', '+15005550006'),
      cents: random(400),
      currency: pick('EUR', 'USD'),
      type: pick('', 'A', 'B'),
      channel: pick<Channel | undefined>(undefined, undefined, 'SMS', 'VOICE'),
    }

    const expected = [...rows]
      .sort((a, b) => a.order - b.order)
      .find((row) => {
        if (!row.enabled) return false
        if (asked.channel && asked.channel !== row.channel) return false
        if (row.prefix && !asked.phone.startsWith(row.prefix)) return false
        if (row.type && row.type !== asked.type) return false
        if (row.currency && row.currency !== asked.currency) return false
        if (row.min !== null && asked.cents < row.min) return false
        return row.max === null || asked.cents <= row.max
      })
    const decimal = (cents: number | null) => (cents === null ? null : (cents / 100).toFixed(2))
    const actual = matchRoute(
      rows.map((row) =>
        route(row.order, {
          channel: row.channel,
          callingPrefix: row.prefix,
          transactionType: row.type,
          currency: row.currency,
          minAmount: decimal(row.min),
          maxAmount: decimal(row.max),
          enabled: row.enabled,
        }),
      ),
      {
        phone: asked.phone,
        amount: {
          currency: asked.currency,
          units: BigInt(Math.trunc(asked.cents / 100)),
          nanos: (asked.cents % 100) * 10_000_000,
        },
        transactionType: asked.type,
        channel: asked.channel,
      },
    )

    expect(actual?.priority, JSON.stringify({ rows, asked })).toBe(expected?.order)
    found[actual ? 'some' : 'none'] += 1
  }
  expect(found.some).toBeGreaterThan(1_000)
  expect(found.none).toBeGreaterThan(1_000)
})
