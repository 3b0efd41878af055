import { countryOf } from '../src/domain/phone.ts'
import {
  compileRoutes,
  explainRoute,
  matchRoute,
  type Route,
  type RouteMatch,
  type RoutingRequest,
} from '../src/domain/routing.ts'
import { ANY } from '../test/support/any-match.ts'

/** What one match over 500 rows may take, in microseconds. */
const LIMIT_US = 20
const ROWS = 500
const REPETITIONS = 201

// Each kind of condition in turn, some behind others that hold, so that a row is not always given up at once.
const MATCHES: ((row: number) => Partial<RouteMatch>)[] = [
  () => ({ country: 'PT' }),
  (row) => ({ callingPrefix: `+34${700 + (row % 100)}` }),
  (row) => ({ country: 'ES', transactionType: `TYPE_${row}` }),
  (row) => ({ callingPrefix: '+346', customerSegment: `segment-${row}` }),
  (row) => ({ transactionType: 'CARD', amount: { currency: 'EUR', min: String(1_000 + row), max: null } }),
  (row) => ({ country: 'ES', amount: { currency: 'EUR', min: '100.25', max: `${100 + (row % 25)}.5` } }),
  () => ({
    country: 'ES',
    timeWindow: { start: '20:00', end: '08:00', timeZone: 'Europe/Madrid', weekdays: ['FRIDAY', 'SATURDAY', 'SUNDAY'] },
  }),
  () => ({ timeWindow: { start: '12:00', end: '20:00', timeZone: 'America/New_York', weekdays: [] } }),
  () => ({ timeWindow: { start: '18:00', end: '03:30', timeZone: 'Asia/Kolkata', weekdays: [] } }),
  () => ({ country: 'ES', channel: 'SMS' }),
]

const routes = Array.from({ length: ROWS }, (_, row): Route => {
  const match = row === ROWS - 1 ? { country: 'ES', transactionType: 'CARD' } : MATCHES[row % MATCHES.length]?.(row)
  return {
    priority: row + 1,
    match: { ...ANY, ...match },
    channels: [{ channel: 'SMS', providers: [{ provider: 'twilio-sms', weight: 1 }] }],
  }
})
const compiled = compileRoutes(routes)

function request(at: number): RoutingRequest {
  return {
    phone: '+34600111222',
    country: 'ES',
    amount: { currency: 'EUR', units: 125n, nanos: 500_000_000 },
    transactionType: 'CARD',
    customerSegment: 'private',
    channel: undefined,
    at: new Date(Date.UTC(2026, 0, 5, 9) + at),
  }
}

const phones = Array.from({ length: 100 }, (_, index) => `+346001${String(index * 911).padStart(5, '0')}`)

/**
 * The median over the repetitions, in microseconds for one call. Each repetition is so short that most of them are not
 * interrupted, however busy the machine is.
 */
function median<T>(inputs: T[], run: (input: T) => unknown): number {
  const times = Array.from({ length: REPETITIONS }, () => {
    const began = performance.now()
    for (const input of inputs) run(input)
    return ((performance.now() - began) * 1_000) / inputs.length
  })
  return times.toSorted((a, b) => a - b)[REPETITIONS >> 1] ?? Number.NaN
}

function print(what: string, microseconds: number): void {
  process.stdout.write(`${what.padEnd(45)} ${microseconds.toFixed(2).padStart(7)} us\n`)
}

// As they come in, a millisecond apart; and a minute apart, where the time on the wall is worked out for each.
const requests = Array.from({ length: 100 }, (_, ms) => request(ms))
const minutely = Array.from({ length: 100 }, (_, minute) => request(minute * 60_000))
for (const each of [...requests, ...minutely]) {
  if (matchRoute(compiled, each) !== routes.at(-1)) throw new Error('only the last row should match')
}

// Once unmeasured: a service that runs all day has long been compiled.
median(requests, (each) => matchRoute(compiled, each))
const matching = median(requests, (each) => matchRoute(compiled, each))
print(`matchRoute, the last of ${ROWS} rows`, matching)
print(
  'matchRoute, each in another minute',
  median(minutely, (each) => matchRoute(compiled, each)),
)
print(
  `explainRoute, the last of ${ROWS} rows`,
  median(requests, (each) => explainRoute(compiled, each)),
)
print('countryOf', median(phones, countryOf))

if (!(matching <= LIMIT_US)) {
  process.stderr.write(`matchRoute takes more than ${LIMIT_US} us\n`)
  process.exitCode = 1
}
