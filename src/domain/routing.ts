import { type Amount, fromDecimal, totalNanos } from './amount.ts'
import type { Channel } from './challenge.ts'
import { isInWindow, localTime, type TimeWindow, weekIntervals } from './time-window.ts'

/** A row of the routing table. */
export interface Route {
  /** The lowest number is looked at first. No two rows have the same. */
  priority: number
  match: RouteMatch
  /** Where delivery begins, then where it falls back to: 1 to 3 channels, each once. */
  channels: ChannelStep[]
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
  /** For example "country: ES". Tells of the row only, nothing of the request. */
  unmet: string[]
}

/** A table made ready for matching. */
export type CompiledRoutes = readonly CompiledRoute[]

interface CompiledRoute {
  route: Route
  conditions: Condition[]
}

interface Condition {
  says: string
  holds(facts: Facts): boolean
}

/** A request with what is worked out once for all rows. */
interface Facts extends RoutingRequest {
  nanos: bigint
}

/** Makes rows ready for {@link matchRoute}: do it once, then match often. */
export function compileRoutes(routes: readonly Route[]): CompiledRoutes {
  return routes.toSorted((a, b) => a.priority - b.priority).map((route) => ({ route, conditions: conditionsOf(route) }))
}

/** The first row, by priority, that serves the request; undefined when none does. */
export function matchRoute(routes: CompiledRoutes, request: RoutingRequest): Route | undefined {
  const facts = factsOf(request)
  return routes.find(({ conditions }) => conditions.every((condition) => condition.holds(facts)))?.route
}

/** The row that serves the request, and why each one before it doesn't. */
export function explainRoute(
  routes: CompiledRoutes,
  request: RoutingRequest,
): { route: Route | undefined; passed: UnmetRoute[] } {
  const facts = factsOf(request)
  const route = matchRoute(routes, request)
  const earlier = route
    ? routes.slice(
        0,
        routes.findIndex((compiled) => compiled.route === route),
      )
    : routes
  const passed = earlier.map(({ route: { priority }, conditions }) => ({
    priority,
    unmet: conditions.filter((condition) => !condition.holds(facts)).map(({ says }) => says),
  }))
  return { route, passed }
}

function factsOf(request: RoutingRequest): Facts {
  return { ...request, nanos: totalNanos(request.amount) }
}

function conditionsOf({ match, channels }: Route): Condition[] {
  const first = channels[0]?.channel
  const { channel, country, callingPrefix, transactionType, customerSegment, amount, timeWindow } = match
  const conditions: Condition[] = []
  if (country !== null) conditions.push({ says: `country: ${country}`, holds: (facts) => facts.country === country })
  if (callingPrefix !== null) {
    conditions.push({
      says: `calling_prefix: ${callingPrefix}`,
      holds: (facts) => facts.phone.startsWith(callingPrefix),
    })
  }
  if (transactionType !== null) {
    conditions.push({
      says: `transaction_type: ${transactionType}`,
      holds: (facts) => facts.transactionType === transactionType,
    })
  }
  if (customerSegment !== null) {
    conditions.push({
      says: `customer_segment: ${customerSegment}`,
      holds: (facts) => facts.customerSegment === customerSegment,
    })
  }
  if (amount !== null) {
    const { currency } = amount
    const { min, max } = nanosOf(amount)
    conditions.push({
      says: `amount: ${amount.min ?? '0'} to ${amount.max ?? 'any'} ${currency}`,
      holds: ({ amount: { currency: asked }, nanos }) =>
        asked === currency && (min === null || nanos >= min) && (max === null || nanos <= max),
    })
  }
  if (timeWindow !== null) {
    const { start, end, timeZone, weekdays } = timeWindow
    const intervals = weekIntervals(timeWindow)
    conditions.push({
      says: `time_window: ${[...weekdays, `${start} to ${end}`, timeZone].join(' ')}`,
      holds: (facts) => isInWindow(intervals, localTime(facts.at, timeZone)),
    })
  }
  // Last, as it is the one that tells rows apart least often.
  conditions.push(
    channel === null
      ? { says: `channel: ${first} or none`, holds: (facts) => facts.channel === undefined || facts.channel === first }
      : { says: `channel: ${channel}`, holds: (facts) => facts.channel === channel },
  )
  return conditions
}

/** The bounds of a range in billionths of a unit. */
export function nanosOf({ min, max }: AmountRange): { min: bigint | null; max: bigint | null } {
  const nanos = (decimal: string | null) => (decimal === null ? null : totalNanos(fromDecimal(decimal)))
  return { min: nanos(min), max: nanos(max) }
}
