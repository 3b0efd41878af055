import { describe, expect, test } from 'vitest'
import type { Channel } from '../../src/domain/challenge.ts'
import {
  type AmountRange,
  compileRoutes,
  explainRoute,
  matchRoute,
  type Route,
  type RouteMatch,
  type RoutingRequest,
} from '../../src/domain/routing.ts'
import type { TimeWindow } from '../../src/domain/time-window.ts'
import { ANY } from '../support/any-match.ts'

function route(priority: number, match: Partial<RouteMatch> = {}, ...channels: Channel[]): Route {
  return {
    priority,
    match: { ...ANY, ...match },
    channels: (channels.length === 0 ? (['SMS'] as const) : channels).map((channel) => ({
      channel,
      providers: [{ provider: `some-${channel.toLowerCase()}`, weight: 1 }],
    })),
  }
}

function request(fields: Partial<RoutingRequest> = {}): RoutingRequest {
  return {
    phone: '+34600111222',
    country: 'ES',
    amount: { currency: 'EUR', units: 125n, nanos: 500_000_000 },
    transactionType: 'SEPA_CREDIT_TRANSFER',
    customerSegment: 'private',
    channel: undefined,
    at: new Date('2026-01-05T10:30:00+01:00'),
    ...fields,
  }
}

function money(units: bigint, nanos = 0, currency = 'EUR'): Partial<RoutingRequest> {
  return { amount: { currency, units, nanos } }
}

function serves(match: Partial<RouteMatch>, asked: Partial<RoutingRequest>): boolean {
  return matchRoute(compileRoutes([route(1, match)]), request(asked)) !== undefined
}

describe('the first row by priority wins', () => {
  const [first, second, third] = [route(2), route(10), route(100)]

  test.for([[[first, second, third]], [[third, second, first]], [[second, first, third]], [[third, first, second]]])(
    'wherever it stands in the list',
    ([routes = []]) => {
      const before = [...routes]
      expect(matchRoute(compileRoutes(routes), request())).toBe(first)
      expect(routes).toEqual(before)
    },
  )

  test('of those that serve the request', () => {
    const routes = compileRoutes([route(1, { country: 'PT' }), third, second, route(3, {}, 'VOICE')])
    expect(matchRoute(routes, request({ channel: 'SMS' }))).toBe(second)
  })

  test('without one there is none', () => {
    expect(matchRoute(compileRoutes([]), request())).toBeUndefined()
    expect(matchRoute(compileRoutes([route(1, { country: 'PT' })]), request())).toBeUndefined()
  })
})

test('a row that says nothing serves everyone', () => {
  for (const asked of [
    {},
    { phone: '+8613800138000', country: 'CN' },
    { phone: '+88213123456', country: undefined },
    { transactionType: '', customerSegment: '' },
    money(9_223_372_036_854_775_807n, 999_999_999, 'JPY'),
    money(0n, 1),
    { at: new Date(0) },
  ]) {
    expect(serves({}, asked)).toBe(true)
  }
})

test('all that a row says must hold', () => {
  const match = { country: 'ES', transactionType: 'PAYROLL', customerSegment: 'business' }
  const asked = { country: 'ES', transactionType: 'PAYROLL', customerSegment: 'business' }
  expect(serves(match, asked)).toBe(true)
  for (const field of ['country', 'transactionType', 'customerSegment'] as const) {
    expect(serves(match, { ...asked, [field]: 'other' })).toBe(false)
  }
})

describe('the channel that the caller asks for', () => {
  const smsThenVoice = (channel: Channel | null) => compileRoutes([route(1, { channel }, 'SMS', 'VOICE')])

  test.for([
    [null, undefined, true],
    [null, 'SMS', true],
    [null, 'VOICE', false], // a fallback is none to begin with
    [null, 'PUSH', false],
    ['SMS', 'SMS', true],
    ['SMS', undefined, false],
    ['SMS', 'VOICE', false],
  ] as const)('where the row says %s, %s: %s', ([channel, asked, expected]) => {
    expect(matchRoute(smsThenVoice(channel), request({ channel: asked })) !== undefined).toBe(expected)
  })

  test('a row for those who ask for a channel leaves the others to the next', () => {
    const routes = compileRoutes([route(1, { channel: 'VOICE' }, 'VOICE', 'SMS'), route(2, {}, 'SMS')])
    expect(matchRoute(routes, request({ channel: 'VOICE' }))?.priority).toBe(1)
    expect(matchRoute(routes, request())?.priority).toBe(2)
    expect(matchRoute(routes, request({ channel: 'PUSH' }))).toBeUndefined()
  })
})

test('a country is that of the request, whatever the number begins with', () => {
  expect(serves({ country: 'CA' }, { phone: '+14165550123', country: 'CA' })).toBe(true)
  expect(serves({ country: 'US' }, { phone: '+14165550123', country: 'CA' })).toBe(false)
  expect(serves({ country: 'US' }, { phone: '+88213123456', country: undefined })).toBe(false)
})

test('a calling prefix is how the number begins, of whatever length', () => {
  for (const callingPrefix of ['+3', '+34', '+3460', '+34600111222']) expect(serves({ callingPrefix }, {})).toBe(true)
  for (const callingPrefix of ['+35', '+346001112223', '+1', '+600']) expect(serves({ callingPrefix }, {})).toBe(false)
})

test.for(['transactionType', 'customerSegment'] as const)('the %s is matched whole and exactly', (field) => {
  for (const other of ['', 'HIGH', 'high_value', 'HIGH_VALUE ', 'HIGH_VALUE_2']) {
    expect(serves({ [field]: 'HIGH_VALUE' }, { [field]: other }), other).toBe(false)
  }
  expect(serves({ [field]: 'HIGH_VALUE' }, { [field]: 'HIGH_VALUE' })).toBe(true)
  expect(serves({ [field]: '' }, { [field]: '' })).toBe(true)
  expect(serves({ [field]: '' }, { [field]: 'HIGH_VALUE' })).toBe(false)
})

describe('an amount range', () => {
  const range = (min: string | null, max: string | null, currency = 'EUR'): AmountRange => ({ currency, min, max })
  const most = 9_223_372_036_854_775_807n

  test.for([
    // Both bounds belong to it, to the billionth.
    [range('100.5', '1000'), money(100n, 499_999_999), false],
    [range('100.5', '1000'), money(100n, 500_000_000), true],
    [range('100.5', '1000'), money(1_000n), true],
    [range('100.5', '1000'), money(1_000n, 1), false],
    [range('7', '7'), money(7n), true],
    // Thousandths, as the dinar has them.
    [range('0.005', '1.250', 'KWD'), money(0n, 4_000_000, 'KWD'), false],
    [range('0.005', '1.250', 'KWD'), money(0n, 5_000_000, 'KWD'), true],
    [range('0.005', '1.250', 'KWD'), money(1n, 250_000_000, 'KWD'), true],
    [range('0.005', '1.250', 'KWD'), money(1n, 251_000_000, 'KWD'), false],
    // Another currency is out of any range.
    [range('100', '1000'), money(500n, 0, 'USD'), false],
    [range(null, null), money(500n, 0, 'USD'), false],
    [range(null, null), money(500n), true],
    // Open at either end.
    [range('100', null), money(most, 999_999_999), true],
    [range('100', null), money(99n, 999_999_999), false],
    [range(null, '100'), money(0n, 1), true],
    [range(null, '100'), money(100n), true],
    [range(null, '100'), money(100n, 1), false],
    [range('0', null), money(0n), true],
    // Numbers, not text.
    [range('9', null), money(10n), true],
    [range(null, '10'), money(9n), true],
    // Past what a double holds exactly.
    [range('999999999999999998.999999999', null), money(999_999_999_999_999_998n, 999_999_998), false],
    [range(null, '999999999999999999.999999999'), money(999_999_999_999_999_999n, 999_999_999), true],
    [range(null, '999999999999999999.999999999'), money(1_000_000_000_000_000_000n), false],
  ] as const)('%j of %o: %s', ([amount, asked, expected]) => {
    expect(serves({ amount }, asked)).toBe(expected)
  })
})

test('a time window is judged by the clock of its own time zone, on its weekdays', () => {
  const timeWindow: TimeWindow = { start: '08:00', end: '20:00', timeZone: 'America/New_York', weekdays: ['MONDAY'] }
  expect(serves({ timeWindow }, { at: new Date('2026-01-05T12:59:59.999Z') })).toBe(false)
  expect(serves({ timeWindow }, { at: new Date('2026-01-05T13:00:00Z') })).toBe(true)
  expect(serves({ timeWindow }, { at: new Date('2026-01-06T00:59:59.999Z') })).toBe(true)
  expect(serves({ timeWindow }, { at: new Date('2026-01-06T01:00:00Z') })).toBe(false)
  expect(serves({ timeWindow }, { at: new Date('2026-01-06T13:00:00Z') })).toBe(false)
})

describe('explaining a route', () => {
  const full: Partial<RouteMatch> = {
    channel: 'PUSH',
    country: 'PT',
    transactionType: 'PAYROLL',
    customerSegment: 'business',
    amount: { currency: 'USD', min: '10', max: '20.50' },
    timeWindow: { start: '22:00', end: '06:00', timeZone: 'Asia/Kolkata', weekdays: ['SATURDAY', 'SUNDAY'] },
  }

  test('names the row, and for each before it what did not hold', () => {
    const routes = compileRoutes([
      route(50, { country: 'ES' }),
      route(60),
      route(20, { callingPrefix: '+351', amount: { currency: 'EUR', min: null, max: null } }),
      route(10, full, 'PUSH', 'SMS'),
      route(30, { country: 'ES', amount: { currency: 'EUR', min: null, max: '125' } }, 'VOICE'),
    ])
    const { route: chosen, passed } = explainRoute(routes, request({ channel: 'SMS' }))
    expect(chosen?.priority).toBe(50)
    expect(passed).toEqual([
      {
        priority: 10,
        unmet: [
          'country: PT',
          'transaction_type: PAYROLL',
          'customer_segment: business',
          'amount: 10 to 20.50 USD',
          'time_window: SATURDAY SUNDAY 22:00 to 06:00 Asia/Kolkata',
          'channel: PUSH',
        ],
      },
      { priority: 20, unmet: ['calling_prefix: +351'] },
      { priority: 30, unmet: ['amount: 0 to 125 EUR', 'channel: VOICE or none'] },
    ])
  })

  test('where none serves, tells of all', () => {
    const routes = compileRoutes([
      route(2, {}, 'VOICE'),
      route(1, { amount: { currency: 'USD', min: '5', max: null } }),
    ])
    expect(explainRoute(routes, request({ channel: 'PUSH' }))).toEqual({
      route: undefined,
      passed: [
        { priority: 1, unmet: ['amount: 5 to any USD', 'channel: SMS or none'] },
        { priority: 2, unmet: ['channel: VOICE or none'] },
      ],
    })
    expect(explainRoute(compileRoutes([]), request())).toEqual({ route: undefined, passed: [] })
  })

  test('where the first serves, there is nothing to tell', () => {
    const first = route(1)
    expect(explainRoute(compileRoutes([route(2), first]), request())).toEqual({ route: first, passed: [] })
  })

  test('tells nothing of the request', () => {
    const routes = compileRoutes([route(1, full, 'PUSH'), route(2, { callingPrefix: '+35' }, 'VOICE')])
    const told = (asked: Partial<RoutingRequest>) => explainRoute(routes, request({ channel: 'SMS', ...asked }))
    const other = { phone: '+447911123456', country: 'GB', transactionType: 'CARD', customerSegment: 'staff' }
    expect(told(other)).toEqual(told({}))
    expect(JSON.stringify(told({}))).not.toMatch(/346|SEPA|private|125|2026/)
  })
})
