import { currencyDigits } from './amount.ts'
import type { Channel } from './challenge.ts'
import { CALLING_CODES } from './phone.ts'
import { isChannel, isRoute, isWeekday, type RouteDraft, type StepDraft, type WindowDraft } from './route-draft.ts'
import { type AmountRange, nanosOf, type Route, type RouteMatch } from './routing.ts'
import { isPlainText, lengthOf } from './text.ts'
import { coversWindow, isTimeOfDay, isTimeZone, WEEKDAYS } from './time-window.ts'

/** What is wrong with a table: where, as a path of the contract's fields, and what it must be. */
export interface RoutingProblem {
  field: string
  description: string
}

/** Of a table, of a row, and of a channel. */
export const MAX_ROUTES = 1_000
export const MAX_CHANNELS = 3
export const MAX_PROVIDERS = 10
const MAX_PROBLEMS = 100
const MAX_WEIGHT = 1_000
const MAX_TEXT = 64
const CALLING_PREFIX = /^\+[1-9][0-9]{0,14}$/
const DECIMAL = /^[0-9]{1,18}(\.[0-9]{1,9})?$/

/** Calling codes of several countries: "+1" is no proof of any. */
const SHARED_CODES = new Set([...CALLING_CODES.values()].filter((code, place, all) => all.indexOf(code) !== place))

/**
 * Returns what is wrong with a table's rows: the first 100 problems, or only that a list is too long. `providers` has the
 * channel of every provider.
 */
export function routingProblems(
  routes: readonly RouteDraft[],
  providers: ReadonlyMap<string, { channel: Channel }>,
): RoutingProblem[] {
  const problems: RoutingProblem[] = []
  const note = (field: string, description: string) => {
    if (problems.length < MAX_PROBLEMS) problems.push({ field, description })
  }

  if (routes.length === 0) note('routes', 'must not be empty: no signature could be started')
  if (routes.length > MAX_ROUTES) {
    note('routes', `must be at most ${MAX_ROUTES}`)
    return problems
  }

  const priorities = new Map<number, number>()
  for (const [index, { priority, match, channels }] of routes.entries()) {
    if (problems.length === MAX_PROBLEMS) break
    const at = `routes[${index}]`
    if (!(priority >= 1 && priority <= 1_000_000)) note(`${at}.priority`, 'must be 1 to 1,000,000')
    const same = priorities.get(priority)
    if (same !== undefined) note(`${at}.priority`, `must be another than that of routes[${same}]`)
    priorities.set(priority, same ?? index)
    noteMatch(match, channels[0]?.channel, `${at}.match`, note)
    noteChannels(channels, `${at}.channels`, providers, note)
  }

  // Only rows without a problem of their own can be compared.
  if (problems.length === 0 && routes.every(isRoute)) {
    for (const [later, earlier] of shadows(routes)) {
      note(`routes[${later}]`, `can never be reached: routes[${earlier}] serves everything that it would`)
    }
  }
  return problems
}

type Note = (field: string, description: string) => void

function noteMatch(match: RouteDraft['match'], first: string | undefined, at: string, note: Note): void {
  const { channel, country, callingPrefix, transactionType, customerSegment, amount, timeWindow } = match
  if (channel !== null && channel !== first) note(`${at}.channel`, "must be the first of the route's channels")
  if (country !== null && !CALLING_CODES.has(country))
    note(`${at}.country`, 'must be an ISO 3166-1 alpha-2 country that has phone numbers')
  if (callingPrefix !== null && !CALLING_PREFIX.test(callingPrefix)) {
    note(`${at}.calling_prefix`, 'must be "+" and 1 to 15 digits')
  }
  if (country !== null && callingPrefix !== null) note(`${at}.calling_prefix`, 'must not be set beside country')
  noteText(transactionType, `${at}.transaction_type`, note)
  noteText(customerSegment, `${at}.customer_segment`, note)
  if (amount !== null) noteAmount(amount, `${at}.amount`, note)
  if (timeWindow !== null) noteTimeWindow(timeWindow, `${at}.time_window`, note)
}

function noteText(text: string | null, at: string, note: Note): void {
  if (text === null) return
  if (lengthOf(text) > MAX_TEXT) note(at, `must be at most ${MAX_TEXT} characters`)
  if (!isPlainText(text)) note(at, 'must hold no control characters and no invisible formatting')
}

function noteAmount(amount: AmountRange, at: string, note: Note): void {
  if (currencyDigits(amount.currency) === undefined) note(`${at}.currency_code`, 'must be an ISO 4217 code')
  const bounds = ['min', 'max'] as const
  const wrong = bounds.filter((bound) => !DECIMAL.test(amount[bound] ?? '0'))
  for (const bound of wrong) {
    note(`${at}.${bound}`, 'must be a decimal number, at most 18 digits before the point and 9 after it')
  }
  if (wrong.length > 0) return
  const { min, max } = nanosOf(amount)
  if (min !== null && max !== null && max < min) note(`${at}.max`, 'must not be below min')
}

function noteTimeWindow({ start, end, timeZone, weekdays }: WindowDraft, at: string, note: Note): void {
  if (!isTimeOfDay(start)) note(`${at}.start`, 'must be HH:MM, 00:00 to 23:59')
  if (!isTimeOfDay(end)) note(`${at}.end`, 'must be HH:MM, 00:00 to 23:59')
  if (!isTimeZone(timeZone)) note(`${at}.time_zone`, 'must be an IANA time zone, for example "Europe/Madrid"')
  if (weekdays.length > WEEKDAYS.length) {
    note(`${at}.weekdays`, `must be at most ${WEEKDAYS.length}`)
    return
  }
  if (!weekdays.every(isWeekday)) note(`${at}.weekdays`, 'must be days of the week')
  if (new Set(weekdays).size < weekdays.length) note(`${at}.weekdays`, 'must each be named once')
}

function noteChannels(
  steps: readonly StepDraft[],
  at: string,
  known: ReadonlyMap<string, { channel: Channel }>,
  note: Note,
): void {
  if (steps.length < 1 || steps.length > MAX_CHANNELS) {
    note(at, `must be 1 to ${MAX_CHANNELS}`)
    return
  }
  for (const [index, { channel, providers }] of steps.entries()) {
    const step = `${at}[${index}]`
    const isKnown = isChannel(channel)
    if (!isKnown) note(`${step}.channel`, 'must be SMS, VOICE or PUSH')
    const before = steps.findIndex((other) => other.channel === channel)
    if (isKnown && before < index) note(`${step}.channel`, `makes a loop: ${at}[${before}] is ${channel} as well`)
    if (providers.length < 1 || providers.length > MAX_PROVIDERS) {
      note(`${step}.providers`, `must be 1 to ${MAX_PROVIDERS}`)
      continue
    }
    const named = [...known].filter(([, { channel: its }]) => its === channel).map(([name]) => name)
    const seen = new Set<string>()
    for (const [position, { provider, weight }] of providers.entries()) {
      const field = `${step}.providers[${position}]`
      if (isKnown && known.get(provider)?.channel !== channel) {
        note(`${field}.provider`, `must be a provider of ${channel}: ${named.join(', ') || 'there is none'}`)
      }
      if (seen.has(provider)) note(`${field}.provider`, 'must be named once')
      seen.add(provider)
      if (!(weight >= 0 && weight <= MAX_WEIGHT)) note(`${field}.weight`, `must be 0 to ${MAX_WEIGHT}`)
    }
    if (!providers.some(({ weight }) => weight > 0)) {
      note(`${step}.providers`, 'must have one with a weight above 0')
    }
  }
}

/** A row with the bounds of its amount, which are compared half a million times in a table. */
type Bounded = Route & { nanos: ReturnType<typeof nanosOf> }

/** Each row that an earlier one leaves nothing to, with that one, as places in the list. */
function shadows(routes: readonly Route[]): [later: number, earlier: number][] {
  const byPriority = routes
    .map((route, place): [number, Bounded] => [place, { ...route, nanos: nanosOf(route.match.amount ?? ANY_AMOUNT) }])
    .toSorted(([, a], [, b]) => a.priority - b.priority)
  return byPriority.flatMap(([later, route], place) => {
    const cover = byPriority.slice(0, place).find(([, earlier]) => covers(earlier, route))
    return cover ? [[later, cover[0]] satisfies [number, number]] : []
  })
}

const ANY_AMOUNT = { min: null, max: null }

/** Whether one row serves every request that the other would. */
function covers(outer: Bounded, inner: Bounded): boolean {
  const [a, b] = [outer.match, inner.match]
  return (
    coversChannel(outer, inner) &&
    coversPlace(a, b) &&
    (a.transactionType === null || a.transactionType === b.transactionType) &&
    (a.customerSegment === null || a.customerSegment === b.customerSegment) &&
    (a.amount === null || (a.amount.currency === b.amount?.currency && coversRange(outer.nanos, inner.nanos))) &&
    (a.timeWindow === null || coversWindow(a.timeWindow, b.timeWindow))
  )
}

function coversChannel(outer: Route, inner: Route): boolean {
  const sameFirst = outer.channels[0]?.channel === inner.channels[0]?.channel
  return sameFirst && (outer.match.channel === null || inner.match.channel !== null)
}

function coversPlace(outer: RouteMatch, inner: RouteMatch): boolean {
  if (outer.country === null && outer.callingPrefix === null) return true
  if (outer.callingPrefix !== null) {
    const prefix = inner.callingPrefix ?? CALLING_CODES.get(inner.country ?? '') ?? ''
    return prefix.startsWith(outer.callingPrefix)
  }
  if (inner.country !== null) return inner.country === outer.country
  const code = CALLING_CODES.get(outer.country ?? '') ?? ''
  return !SHARED_CODES.has(code) && (inner.callingPrefix ?? '').startsWith(code)
}

function coversRange(outer: Bounded['nanos'], inner: Bounded['nanos']): boolean {
  return (
    (outer.min === null || (inner.min ?? 0n) >= outer.min) &&
    (outer.max === null || (inner.max !== null && inner.max <= outer.max))
  )
}
