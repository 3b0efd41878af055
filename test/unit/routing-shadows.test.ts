import { describe, expect, test } from 'vitest'
import type { Channel } from '../../src/domain/challenge.ts'
import type { Route, RouteMatch } from '../../src/domain/routing.ts'
import { routingProblems } from '../../src/domain/routing-problems.ts'
import { type TimeWindow, WEEKDAYS } from '../../src/domain/time-window.ts'
import { ANY } from '../support/any-match.ts'

const PROVIDERS = new Map<string, { channel: Channel }>([
  ['SMS', { channel: 'SMS' }],
  ['VOICE', { channel: 'VOICE' }],
])

function row(priority: number, match: Partial<RouteMatch>, ...channels: Channel[]): Route {
  return {
    priority,
    match: { ...ANY, ...match },
    channels: (channels.length === 0 ? (['SMS'] as const) : channels).map((channel) => ({
      channel,
      providers: [{ provider: channel, weight: 1 }],
    })),
  }
}

/** Each row that is reported, with the one that shadows it, as places in the list. */
function shadows(routes: Route[]): [later: number, earlier: number][] {
  return routingProblems(routes, PROVIDERS).map(({ field, description }) => {
    const [, later] = /^routes\[(\d+)]$/.exec(field) ?? []
    const [, earlier] = /^can never be reached: routes\[(\d+)] serves everything that it would$/.exec(description) ?? []
    return [Number(later), Number(earlier)]
  })
}

function isShadowed(earlier: Partial<RouteMatch>, later: Partial<RouteMatch>): boolean {
  return shadows([row(1, earlier), row(2, later)]).length > 0
}

function eur(min: string | null, max: string | null) {
  return { amount: { currency: 'EUR', min, max } }
}

function window(start: string, end: string, fields: Partial<TimeWindow> = {}) {
  return { timeWindow: { start, end, timeZone: 'Europe/Madrid', weekdays: [], ...fields } }
}

describe('a row', () => {
  test('is reported with the first row that shadows it, by priority and wherever they stand', () => {
    const rows = [row(9, { country: 'PT' }), row(30, { country: 'ES' }), row(10, {}), row(20, { country: 'ES' })]
    expect(shadows(rows)).toEqual([
      [3, 2],
      [1, 2],
    ])
  })

  test('is not judged while the table has other problems', () => {
    const rows = [row(1, {}), row(2, {}), row(3, { country: 'XX' })]
    expect(routingProblems(rows, PROVIDERS).map(({ field }) => field)).toEqual(['routes[2].match.country'])
  })

  test('is shadowed by its twin, whatever the fallbacks and providers', () => {
    expect(shadows([row(1, {}, 'SMS', 'VOICE'), row(2, {}, 'SMS')])).toEqual([[1, 0]])
  })

  test.for([
    [row(1, {}), row(2, { channel: 'SMS' }), true],
    [row(1, { channel: 'SMS' }), row(2, { channel: 'SMS' }), true],
    [row(1, { channel: 'SMS' }), row(2, {}), false], // those who ask for none
    [row(1, {}, 'VOICE'), row(2, {}), false], // those who ask for SMS
    [row(1, {}, 'VOICE', 'SMS'), row(2, { channel: 'SMS' }), false],
    [row(1, { channel: 'VOICE' }, 'VOICE'), row(2, { channel: 'SMS' }), false],
  ] as const)('of its channel: %#', ([earlier, later, expected]) => {
    expect(shadows([earlier, later]).length > 0).toBe(expected)
  })

  test.for([
    [{}, { country: 'ES' }, true],
    [{}, { callingPrefix: '+34' }, true],
    [{ country: 'ES' }, { country: 'ES' }, true],
    [{ country: 'ES' }, { country: 'PT' }, false],
    [{ country: 'ES' }, {}, false],
    [{ callingPrefix: '+34' }, {}, false],
    [{ callingPrefix: '+34' }, { callingPrefix: '+34' }, true],
    [{ callingPrefix: '+34' }, { callingPrefix: '+346' }, true],
    [{ callingPrefix: '+346' }, { callingPrefix: '+34' }, false],
    [{ callingPrefix: '+346' }, { callingPrefix: '+347' }, false],
    [{ callingPrefix: '+34' }, { country: 'ES' }, true],
    [{ callingPrefix: '+3' }, { country: 'ES' }, true],
    [{ callingPrefix: '+346' }, { country: 'ES' }, false],
    [{ callingPrefix: '+1' }, { country: 'CA' }, true],
    [{ callingPrefix: '+35' }, { country: 'ES' }, false],
    [{ country: 'ES' }, { callingPrefix: '+346' }, true],
    [{ country: 'ES' }, { callingPrefix: '+34' }, true],
    [{ country: 'ES' }, { callingPrefix: '+3' }, false],
    [{ country: 'ES' }, { callingPrefix: '+351' }, false],
    [{ country: 'US' }, { callingPrefix: '+1' }, false], // CA as well
    [{ country: 'GB' }, { callingPrefix: '+44' }, false], // IM as well
    [{ country: 'RU' }, { callingPrefix: '+7' }, false], // KZ as well
    [{ country: 'CA' }, { country: 'US' }, false],
  ] as const)('of its place: %j before %j: %s', ([earlier, later, expected]) => {
    expect(isShadowed(earlier, later)).toBe(expected)
  })

  test.for(['transactionType', 'customerSegment'] as const)('of its %s', (field) => {
    expect(isShadowed({}, { [field]: 'A' })).toBe(true)
    expect(isShadowed({ [field]: 'A' }, { [field]: 'A' })).toBe(true)
    expect(isShadowed({ [field]: 'A' }, { [field]: 'AB' })).toBe(false)
    expect(isShadowed({ [field]: 'A' }, {})).toBe(false)
    expect(isShadowed({ [field]: '' }, {})).toBe(false)
  })

  test.for([
    [{}, eur('1', '2'), true],
    [eur(null, null), {}, false],
    [eur(null, null), eur(null, null), true],
    [eur(null, null), eur('5', '10'), true],
    [eur('0', null), eur(null, null), true],
    [eur('0.000000001', null), eur(null, null), false],
    [eur(null, '10'), eur(null, null), false],
    [eur('5', '10'), eur('5.00', '10.000'), true],
    [eur('5', '10'), eur('6', '9'), true],
    [eur('5', '10'), eur('4.999999999', '10'), false],
    [eur('5', '10'), eur('5', '10.000000001'), false],
    [eur('5', '10'), eur('5', null), false],
    [eur('5', null), eur('10', null), true], // as numbers, not as text
    [eur('5', null), { amount: { currency: 'USD', min: '10', max: null } }, false],
  ] as const)('of its amount: %j before %j: %s', ([earlier, later, expected]) => {
    expect(isShadowed(earlier, later)).toBe(expected)
  })

  test.for([
    [{}, window('08:00', '09:00'), true],
    [window('08:00', '20:00'), {}, false],
    [window('08:00', '20:00'), window('08:00', '20:00'), true],
    [window('08:00', '20:00'), window('08:00', '20:00', { weekdays: ['MONDAY'] }), true],
    [window('08:00', '20:00', { weekdays: ['MONDAY'] }), window('08:00', '20:00'), false],
    [window('08:00', '20:00'), window('07:59', '20:00'), false],
    [window('08:00', '20:00'), window('08:00', '20:01'), false],
    [window('08:00', '20:00'), window('08:00', '20:00', { timeZone: 'Europe/Paris' }), false],
    [window('20:00', '08:00', { weekdays: ['SUNDAY'] }), window('00:00', '08:00', { weekdays: ['MONDAY'] }), true],
    [
      window('00:00', '00:00', { weekdays: ['MONDAY', 'TUESDAY'] }),
      window('22:00', '06:00', { weekdays: ['MONDAY'] }),
      true,
    ],
    // What is always open leaves nothing, whatever the zone.
    [window('15:00', '15:00'), {}, true],
    [window('15:00', '15:00'), window('08:00', '20:00', { timeZone: 'Asia/Kolkata' }), true],
    [window('00:00', '00:00', { weekdays: WEEKDAYS.slice(1) }), {}, false],
  ] as const)('of its hours: %j before %j: %s', ([earlier, later, expected]) => {
    expect(isShadowed(earlier, later)).toBe(expected)
  })
})

test('a table of 1,000 rows that differ by their hours is judged within the time of a test', () => {
  const clock = (minute: number) =>
    [minute / 60, minute % 60].map((part) => String(Math.trunc(part)).padStart(2, '0')).join(':')
  const rows = Array.from({ length: 1_000 }, (_, at) => row(at + 1, window('00:00', clock(400 + at))))
  expect(shadows(rows)).toEqual([])
})
