import fc from 'fast-check'
import { expect, test } from 'vitest'
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

const RUNS = 10_000

const KINDS = [
  'country',
  'calling_prefix',
  'transaction_type',
  'customer_segment',
  'amount',
  'time_window',
  'channel',
] as const
type Kind = (typeof KINDS)[number]

/** As ISO 8601 and Temporal count them. */
const DAY_NUMBER = { MONDAY: 1, TUESDAY: 2, WEDNESDAY: 3, THURSDAY: 4, FRIDAY: 5, SATURDAY: 6, SUNDAY: 7 }

// Small pools, so that rows and requests meet often and miss often.
const AMOUNTS: AmountRange[] = [
  { currency: 'EUR', min: null, max: null },
  { currency: 'EUR', min: '100', max: null },
  { currency: 'EUR', min: null, max: '100.000000001' },
  { currency: 'EUR', min: '9.5', max: '1000' },
  { currency: 'KWD', min: '0.001', max: '0.100' },
]
const WINDOWS: TimeWindow[] = [
  { start: '08:00', end: '20:00', timeZone: 'Europe/Madrid', weekdays: [] },
  { start: '20:00', end: '08:00', timeZone: 'Europe/Madrid', weekdays: ['FRIDAY', 'SUNDAY'] },
  { start: '02:30', end: '02:31', timeZone: 'Europe/Madrid', weekdays: [] },
  { start: '12:00', end: '12:00', timeZone: 'America/New_York', weekdays: ['SUNDAY', 'MONDAY', 'TUESDAY'] },
  { start: '00:30', end: '23:45', timeZone: 'Asia/Kolkata', weekdays: ['MONDAY', 'SATURDAY'] },
]
const MOMENTS = [
  '2026-01-05T00:00:00Z',
  '2026-01-09T19:00:00Z',
  '2026-01-11T23:30:00Z',
  '2026-01-12T06:59:59.999Z',
  '2026-03-08T07:00:00Z',
  '2026-03-29T01:00:00Z',
  '2026-07-04T18:29:59Z',
  '2026-07-05T16:00:00Z',
  '2026-10-25T00:30:30Z',
  '2026-10-25T01:30:30Z',
].map((moment) => new Date(moment))

function or<T>(nothing: null, ...values: T[]): fc.Arbitrary<T | null> {
  return fc.constantFrom<T | null>(...Array.from(values, () => nothing), nothing, nothing, ...values)
}

const channel = fc.constantFrom<Channel>('SMS', 'SMS', 'SMS', 'VOICE')
const row = fc
  .tuple(
    fc.tuple(channel, fc.integer({ min: 0, max: 4 })),
    or(null, 'ES', 'CA'),
    or(null, '+34', '+346', '+1'),
    or(null, 'CARD', ''),
    or(null, 'private', ''),
    or(null, ...AMOUNTS),
    or(null, ...WINDOWS),
  )
  .map(([[first, asked], country, callingPrefix, transactionType, customerSegment, amount, timeWindow]) => ({
    match: {
      channel: asked === 0 ? first : null,
      country,
      callingPrefix,
      transactionType,
      customerSegment,
      amount,
      timeWindow,
    } satisfies RouteMatch,
    channels: [first, 'PUSH' as const].map((channel) => ({ channel, providers: [] })),
  }))
const table = fc
  .tuple(fc.array(row, { maxLength: 6 }), fc.shuffledSubarray([1, 2, 9, 10, 11, 100], { minLength: 6 }))
  .map(([rows, priorities]) => rows.map((fields, place): Route => ({ priority: priorities[place] ?? 0, ...fields })))

const request: fc.Arbitrary<RoutingRequest> = fc
  .tuple(
    fc.constantFrom(
      ['+34600111222', 'ES'],
      ['+34911222333', 'ES'],
      ['+14165550123', 'CA'],
      ['+12125550123', 'US'],
      ['+88213123456', undefined],
    ),
    fc.constantFrom(
      { currency: 'EUR', units: 9n, nanos: 499_999_999 },
      { currency: 'EUR', units: 100n, nanos: 0 },
      { currency: 'EUR', units: 100n, nanos: 1 },
      { currency: 'EUR', units: 1_000n, nanos: 1 },
      { currency: 'EUR', units: 9_223_372_036_854_775_807n, nanos: 0 },
      { currency: 'KWD', units: 0n, nanos: 100_000_000 },
      { currency: 'USD', units: 100n, nanos: 0 },
    ),
    fc.constantFrom('CARD', '', 'PAYROLL'),
    fc.constantFrom('private', '', 'business'),
    fc.constantFrom<Channel | undefined>(undefined, undefined, undefined, undefined, 'SMS', 'SMS', 'VOICE', 'PUSH'),
    fc.constantFrom(...MOMENTS),
  )
  .map(([[phone = '', country], amount, transactionType, customerSegment, channel, at]) => ({
    phone,
    country,
    amount,
    transactionType,
    customerSegment,
    channel,
    at,
  }))

/** What of a row does not hold, worked out one request and row at a time, and in another way than the code does. */
function unmet({ match, channels: [begin] }: Route, asked: RoutingRequest): Kind[] {
  const wrong: Kind[] = []
  if (match.country !== null && match.country !== asked.country) wrong.push('country')
  if (match.callingPrefix !== null && asked.phone.indexOf(match.callingPrefix) !== 0) wrong.push('calling_prefix')
  if (match.transactionType !== null && match.transactionType !== asked.transactionType) wrong.push('transaction_type')
  if (match.customerSegment !== null && match.customerSegment !== asked.customerSegment) wrong.push('customer_segment')
  if (match.amount !== null && !isWithin(match.amount, asked)) wrong.push('amount')
  if (match.timeWindow !== null && !isOpen(match.timeWindow, asked.at)) wrong.push('time_window')
  const channels = match.channel === null ? [begin?.channel, undefined] : [match.channel]
  if (!channels.includes(asked.channel)) wrong.push('channel')
  return wrong
}

/** Numbers as text of one width, which sorts as they do. */
function isWithin({ currency, min, max }: AmountRange, { amount }: RoutingRequest): boolean {
  const text = (units: string, fraction: string) => units.padStart(20, '0') + fraction
  const bound = (decimal: string) => {
    const [units = '', fraction = ''] = decimal.split('.')
    return text(units, fraction.padEnd(9, '0'))
  }
  const asked = text(String(amount.units), String(amount.nanos).padStart(9, '0'))
  return (
    amount.currency === currency &&
    asked >= bound(min ?? '0') &&
    asked <= bound(max ?? '99999999999999999999.999999999')
  )
}

/** A window that ends on the day after it began is looked at from both days. */
function isOpen({ start, end, timeZone, weekdays }: TimeWindow, at: Date): boolean {
  const local = Temporal.Instant.fromEpochMilliseconds(at.getTime()).toZonedDateTimeISO(timeZone)
  const time = local.toPlainTime().toString({ smallestUnit: 'minute' })
  const begins = ({ dayOfWeek }: Temporal.ZonedDateTime) =>
    weekdays.length === 0 || weekdays.some((weekday) => DAY_NUMBER[weekday] === dayOfWeek)
  if (start < end) return begins(local) && start <= time && time < end
  return (begins(local) && start <= time) || (begins(local.subtract({ days: 1 })) && time < end)
}

test('matching and explaining give what a plain, slow search gives, over 10,000 tables and requests', () => {
  const count = { first: 0, later: 0, none: 0 }
  const decided = new Map<Kind, number>()

  fc.assert(
    fc.property(table, request, (routes, asked) => {
      const rows = [...routes]
        .sort((a, b) => a.priority - b.priority)
        .map((route) => ({ route, priority: route.priority, unmet: unmet(route, asked) }))
      const serving = rows.filter((row) => row.unmet.length === 0)[0]
      const earlier = rows.filter(({ priority }) => !serving || priority < serving.priority)

      const compiled = compileRoutes(routes)
      const explained = explainRoute(compiled, asked)
      const actual = [matchRoute(compiled, asked)?.priority, explained.route?.priority, told(explained.passed)]
      const expected = [serving?.priority, serving?.priority, told(earlier)]
      // Not asserted each time: 100,000 assertions take longer than all the rest.
      if (actual.join() !== expected.join()) expect(actual).toEqual(expected)

      count[serving ? (earlier.length === 0 ? 'first' : 'later') : 'none'] += 1
      for (const { unmet } of earlier) {
        const [only, ...others] = unmet
        if (only && others.length === 0) decided.set(only, (decided.get(only) ?? 0) + 1)
      }
    }),
    { numRuns: RUNS },
  )

  for (const [answer, times] of Object.entries(count)) expect(times, answer).toBeGreaterThan(RUNS / 100)
  for (const kind of KINDS) expect(decided.get(kind), kind).toBeGreaterThan(RUNS / 200)
})

/** For each row the kinds of condition that did not hold, of "country: ES" the word before the colon. */
function told(rows: { priority: number; unmet: string[] }[]): string {
  return rows.map(({ priority, unmet }) => `${priority} ${unmet.map((says) => says.split(':', 1)[0])}`).join('; ')
}
