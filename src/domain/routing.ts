import { type Amount, fromDecimal, totalNanos } from './amount.ts'
import type { Channel } from './challenge.ts'
import { type Interval, isInWindow, localTime, type TimeWindow, weekIntervals } from './time-window.ts'

/** A row of the routing table. */
export interface Route {
  /** The lowest number is looked at first. No two rows have the same. */
  priority: number
  match: RouteMatch
  /** Where delivery begins, then where it falls back to: 1 to 3 channels, each once. */
  channels: ChannelStep[]
  /** A message reported as undelivered makes way for the next provider, while its code is open. Absent in older tables. */
  fallbackOnUndelivered?: boolean
}

/** What a request must be for a row to serve it. What is null matches anything. */
export interface RouteMatch {
  /** The caller asked for this channel. Null serves callers who asked for none or for the row's first channel. */
  channel: Channel | null
  /** ISO 3166-1 alpha-2 country of the phone number. */
  country: string | null
  /** How the phone number begins, for example "+346". */
  callingPrefix: string | null
  transactionType: string | null
  customerSegment: string | null
  amount: AmountRange | null
  timeWindow: TimeWindow | null
}

/** Amounts in one currency, from the least to the greatest, both included. Null is no bound. */
export interface AmountRange {
  currency: string
  /** Decimal. */
  min: string | null
  /** Decimal. */
  max: string | null
}

/** The providers of one channel. Weights say how often each is the first to be tried; the others follow in this order. */
export interface ChannelStep {
  channel: Channel
  providers: { provider: string; weight: number }[]
}

/** What a route is chosen by. */
export interface RoutingRequest {
  phone: string
  /** ISO 3166-1 alpha-2; undefined for numbers of no country. */
  country: string | undefined
  amount: Amount
  transactionType: string
  /** Empty when the caller names none. */
  customerSegment: string
  /** Undefined lets the table decide. */
  channel: Channel | undefined
  at: Date
}

/** A row that did not serve a request, and what of it did not hold. */
export interface UnmetRoute {
  priority: number
  /** For example "country: ES". Names the row's condition, nothing of the request. */
  unmet: string[]
}

/** A table made ready for matching. */
export type CompiledRoutes = readonly CompiledRoute[]

/** A row with what is worked out once for all requests. */
interface CompiledRoute extends RouteMatch {
  route: Route
  first: Channel | undefined
  nanos: { min: bigint | null; max: bigint | null }
  hours: readonly Interval[]
}

/** A request with what is worked out once for all rows. */
interface Facts extends RoutingRequest {
  nanos: bigint
}

/** Makes rows ready for {@link matchRoute}: do it once, then match often. */
export function compileRoutes(routes: readonly Route[]): CompiledRoutes {
  return routes
    .toSorted((a, b) => a.priority - b.priority)
    .map((route) => {
      const { amount, timeWindow } = route.match
      return {
        ...route.match,
        route,
        first: route.channels[0]?.channel,
        nanos: amount ? nanosOf(amount) : { min: null, max: null },
        hours: timeWindow ? weekIntervals(timeWindow) : [],
      }
    })
}

/** Returns the first row, by priority, that serves the request; undefined if none does. */
export function matchRoute(routes: CompiledRoutes, request: RoutingRequest): Route | undefined {
  const facts = factsOf(request)
  for (const row of routes) if (serves(row, facts)) return row.route
  return undefined
}

/** Returns the row that serves the request, and why each row before it doesn't. */
export function explainRoute(
  routes: CompiledRoutes,
  request: RoutingRequest,
): { route: Route | undefined; passed: UnmetRoute[] } {
  const facts = factsOf(request)
  const place = routes.findIndex((row) => serves(row, facts))
  const passed = (place < 0 ? routes : routes.slice(0, place)).map((row) => ({
    priority: row.route.priority,
    unmet: CONDITIONS.filter(({ holds }) => !holds(row, facts)).map(({ says }) => says(row)),
  }))
  return { route: routes[place]?.route, passed }
}

function factsOf(request: RoutingRequest): Facts {
  return { ...request, nanos: totalNanos(request.amount) }
}

// Called one by one and not from the list below, which takes three times as long. The one that tells rows apart least
// often comes last.
function serves(row: CompiledRoute, facts: Facts): boolean {
  return (
    isInCountry(row, facts) &&
    hasPrefix(row, facts) &&
    isOfType(row, facts) &&
    isInSegment(row, facts) &&
    isInRange(row, facts) &&
    isInHours(row, facts) &&
    hasChannel(row, facts)
  )
}

const CONDITIONS: { holds(row: CompiledRoute, facts: Facts): boolean; says(row: CompiledRoute): string }[] = [
  { holds: isInCountry, says: ({ country }) => `country: ${country}` },
  { holds: hasPrefix, says: ({ callingPrefix }) => `calling_prefix: ${callingPrefix}` },
  { holds: isOfType, says: ({ transactionType }) => `transaction_type: ${transactionType}` },
  { holds: isInSegment, says: ({ customerSegment }) => `customer_segment: ${customerSegment}` },
  {
    holds: isInRange,
    says: ({ amount }) => `amount: ${amount?.min ?? '0'} to ${amount?.max ?? 'any'} ${amount?.currency}`,
  },
  {
    holds: isInHours,
    says({ timeWindow }) {
      const { start, end, timeZone, weekdays = [] } = timeWindow ?? {}
      return `time_window: ${[...weekdays, `${start} to ${end}`, timeZone].join(' ')}`
    },
  },
  { holds: hasChannel, says: ({ channel, first }) => `channel: ${channel ?? `${first} or none`}` },
]

function isInCountry({ country }: CompiledRoute, facts: Facts): boolean {
  return country === null || country === facts.country
}

function hasPrefix({ callingPrefix }: CompiledRoute, facts: Facts): boolean {
  return callingPrefix === null || facts.phone.startsWith(callingPrefix)
}

function isOfType({ transactionType }: CompiledRoute, facts: Facts): boolean {
  return transactionType === null || transactionType === facts.transactionType
}

function isInSegment({ customerSegment }: CompiledRoute, facts: Facts): boolean {
  return customerSegment === null || customerSegment === facts.customerSegment
}

function isInRange({ amount, nanos: { min, max } }: CompiledRoute, { amount: { currency }, nanos }: Facts): boolean {
  return (
    amount === null ||
    (amount.currency === currency && (min === null || nanos >= min) && (max === null || nanos <= max))
  )
}

function isInHours({ timeWindow, hours }: CompiledRoute, { at }: Facts): boolean {
  return timeWindow === null || isInWindow(hours, localTime(at, timeWindow.timeZone))
}

function hasChannel({ channel, first }: CompiledRoute, facts: Facts): boolean {
  return channel === null ? facts.channel === undefined || facts.channel === first : facts.channel === channel
}

/** Returns the bounds of a range in billionths of a unit. */
export function nanosOf({ min, max }: Pick<AmountRange, 'min' | 'max'>): { min: bigint | null; max: bigint | null } {
  const nanos = (decimal: string | null) => (decimal === null ? null : totalNanos(fromDecimal(decimal)))
  return { min: nanos(min), max: nanos(max) }
}
