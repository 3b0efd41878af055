import fc from 'fast-check'
import { expect, test } from 'vitest'
import type { Channel } from '../../src/domain/challenge.ts'
import { countryOf } from '../../src/domain/phone.ts'
import {
  compileRoutes,
  matchRoute,
  type Route,
  type RouteMatch,
  type RoutingRequest,
} from '../../src/domain/routing.ts'
import { routingProblems } from '../../src/domain/routing-problems.ts'
import type { TimeWindow } from '../../src/domain/time-window.ts'
import { ANY } from '../support/any-match.ts'

const PROVIDERS = new Map<string, { channel: Channel }>([
  ['SMS', { channel: 'SMS' }],
  ['VOICE', { channel: 'VOICE' }],
])

/** Mostly null: a row that says much is hardly ever shadowed. */
function mostlyNull<K extends keyof RouteMatch>(
  field: K,
  ...values: RouteMatch[K][]
): fc.Arbitrary<Partial<RouteMatch>> {
  return fc.constantFrom({}, {}, {}, {}, {}, ...values.map((value) => ({ [field]: value })))
}

const madrid: TimeWindow = { start: '08:00', end: '20:00', timeZone: 'Europe/Madrid', weekdays: [] }
const match = fc
  .tuple(
    fc.oneof(
      mostlyNull('country', 'ES', 'CA', 'GB', 'CN'),
      mostlyNull('callingPrefix', '+34', '+346', '+1', '+4', '+44', '+861'),
    ),
    mostlyNull('transactionType', 'CARD', ''),
    mostlyNull('customerSegment', 'private'),
    mostlyNull(
      'amount',
      { currency: 'EUR', min: null, max: null },
      { currency: 'EUR', min: '10', max: null },
      { currency: 'EUR', min: null, max: '20' },
      { currency: 'EUR', min: '10', max: '20' },
    ),
    mostlyNull(
      'timeWindow',
      madrid,
      { ...madrid, start: '20:00', end: '08:00' },
      { ...madrid, start: '09:00', end: '10:00', weekdays: ['MONDAY'] },
      { ...madrid, start: '07:00', end: '07:00' },
      { ...madrid, start: '00:00', end: '00:00', timeZone: 'UTC' },
    ),
  )
  .map((parts): Partial<RouteMatch> => Object.assign({}, ...parts))
const route = fc.tuple(match, fc.constantFrom<Channel>('SMS', 'SMS', 'VOICE'), fc.boolean()).map(
  ([fields, channel, isAskedFor]): Omit<Route, 'priority'> => ({
    match: { ...ANY, ...fields, channel: isAskedFor ? channel : null },
    channels: [{ channel, providers: [{ provider: channel, weight: 1 }] }],
  }),
)

/** One request for every way in which rows of these pools can differ: 1,944 of them. */
const REQUESTS: RoutingRequest[] = [
  ...['+34600111222', '+34911222333', '+14165550123', '+12125550123', '+442079460123', '+447624123456'],
  ...['+4915112345678', '+8613800138000', '+862012345678'],
]
  .map((phone) => ({ phone, country: countryOf(phone) }))
  .flatMap((request) => ['CARD', '', 'PAYROLL'].map((transactionType) => ({ ...request, transactionType })))
  .flatMap((request) => ['private', ''].map((customerSegment) => ({ ...request, customerSegment })))
  .flatMap((request) => ([undefined, 'SMS', 'VOICE'] as const).map((channel) => ({ ...request, channel })))
  .flatMap((request) =>
    [
      { currency: 'EUR', units: 9n, nanos: 0 },
      { currency: 'EUR', units: 15n, nanos: 0 },
      { currency: 'EUR', units: 21n, nanos: 0 },
      { currency: 'USD', units: 15n, nanos: 0 },
    ].map((amount) => ({ ...request, amount })),
  )
  .flatMap((request) =>
    // Monday morning, Tuesday morning and Tuesday night.
    ['2026-01-05T09:30:00+01:00', '2026-01-06T09:30:00+01:00', '2026-01-06T23:30:00+01:00'].map((at) => ({
      ...request,
      at: new Date(at),
    })),
  )

/** Each row that is reported, with the one that shadows it, as places in the list. */
function shadows(routes: Route[]): [later: number, earlier: number][] {
  return routingProblems(routes, PROVIDERS).map(({ field, description }) => {
    expect(description).toContain('can never be reached')
    return [Number(/\d+/.exec(field)), Number(/\d+/.exec(description))]
  })
}

test('of two rows the later is reported exactly when no request reaches it', () => {
  const found = { shadowed: 0, reached: 0 }
  fc.assert(
    fc.property(route, route, fc.boolean(), (earlier, later, isTurned) => {
      const rows = [
        { priority: 1, ...earlier },
        { priority: 2, ...later },
      ]
      const compiled = compileRoutes(rows)
      const isReached = REQUESTS.some((request) => matchRoute(compiled, request)?.priority === 2)
      found[isReached ? 'reached' : 'shadowed'] += 1
      const expected = isTurned ? [0, 1] : [1, 0]
      expect(shadows(isTurned ? rows.toReversed() : rows)).toEqual(isReached ? [] : [expected])
    }),
    { numRuns: 500 },
  )
  expect(Math.min(found.shadowed, found.reached)).toBeGreaterThan(5)
})

test('a row that is reported never wins, and the row named serves whatever it would', () => {
  let reported = 0
  fc.assert(
    fc.property(
      fc.array(route, { minLength: 3, maxLength: 6 }),
      fc.shuffledSubarray([3, 5, 8, 13, 21, 34], { minLength: 6 }),
      fc.nat(22),
      (fields, priorities, offset) => {
        const rows = fields.map((row, place) => ({ priority: priorities[place] ?? 0, ...row }))
        const found = shadows(rows)
        reported += found.length
        const compiled = compileRoutes(rows)
        const pairs = found.map((pair) => pair.map((place) => compileRoutes(rows.slice(place, place + 1))))
        for (const request of REQUESTS.filter((_, at) => at % 23 === offset)) {
          const winner = matchRoute(compiled, request)
          expect(found.some(([later]) => rows[later] === winner)).toBe(false)
          for (const [later = [], earlier = []] of pairs) {
            if (matchRoute(later, request)) expect(matchRoute(earlier, request)).toBeDefined()
          }
        }
      },
    ),
    { numRuns: 250 },
  )
  expect(reported).toBeGreaterThan(30)
})
