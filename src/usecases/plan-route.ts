import type { Context } from '../context.ts'
import type { Candidate, Channel, PassedOver, PassReason } from '../domain/challenge.ts'
import { candidatesOf, drawSeed, nextCandidate } from '../domain/fallback.ts'
import { lookUpHmac } from '../domain/look-up-hmac.ts'
import { countryOf } from '../domain/phone.ts'
import { matchRoute, type Route, type RoutingRequest } from '../domain/routing.ts'
import { type Transaction, transactionDigest } from '../domain/transaction.ts'
import { AppError, overloaded } from '../errors.ts'

/** A request that is to be routed. */
export interface RouteRequest {
  /** E.164. */
  phone: string
  transaction: Transaction
  /** Undefined lets the routing table decide. */
  channel: Channel | undefined
  customerSegment: string
}

/** What a route is found by, and its providers are drawn by. */
export interface RouteQuery extends RouteRequest {
  /** ISO 3166-1 alpha-2; undefined for numbers of no country. */
  country: string | undefined
  phoneHmac: Buffer
  transactionDigest: Buffer
}

/** The row that serves a request, and its providers in the order in which they are tried. */
export interface Plan {
  route: Route
  routingTableVersion: number
  candidates: Candidate[]
  /** Those that earlier challenges have passed over. */
  passedOver: PassedOver[]
  /** No caller waits for what is sent by it. */
  isUnattended: boolean
}

/** Derives from a request what a route is found by. */
export function routeQuery(
  { keys }: Pick<Context, 'keys'>,
  { phone, transaction, channel, customerSegment }: RouteRequest,
): RouteQuery {
  return {
    phone,
    country: countryOf(phone),
    phoneHmac: lookUpHmac(keys.index, 'phone', phone),
    transaction,
    transactionDigest: transactionDigest(transaction),
    channel,
    customerSegment,
  }
}

/** Finds the row for a request in the table in force; undefined when none matches. */
export function planRoute({ routing, clock }: Pick<Context, 'routing' | 'clock'>, query: RouteQuery): Plan | undefined {
  const { routes, version } = routing
  const route = matchRoute(routes, routingRequest(query, clock()))
  if (!route) return undefined
  const candidates = candidatesFor(route, query)
  return { route, routingTableVersion: version, candidates, passedOver: [], isUnattended: false }
}

/** Returns what the table is asked for a request at a time. */
export function routingRequest(
  { phone, country, transaction, channel, customerSegment }: RouteQuery,
  at: Date,
): RoutingRequest {
  const { amount, transactionType } = transaction
  return { phone, country, amount, transactionType, customerSegment, channel, at }
}

/** Returns a row's providers in the order in which they are tried for a request. */
export function candidatesFor(route: Route, { phoneHmac, transactionDigest }: RouteQuery): Candidate[] {
  return candidatesOf(route, drawSeed(phoneHmac, transactionDigest))
}

/** Returns the next provider of a plan that can be used now by a caller with `timeLeftMs` left, and all passed over for it. */
export function nextUsable(
  ctx: Pick<Context, 'providers' | 'passReason'>,
  { candidates }: Plan,
  passedOver: readonly PassedOver[],
  hasPushToken: boolean,
  timeLeftMs: number,
): ReturnType<typeof nextCandidate> {
  return nextCandidate(candidates, passedOver, (candidate) => passReasonOf(ctx, candidate, hasPushToken, timeLeftMs))
}

/** Returns why a candidate can't be used right now; undefined if it can. */
export function passReasonOf(
  ctx: Pick<Context, 'providers' | 'passReason'>,
  { provider, channel }: Candidate,
  hasPushToken: boolean,
  timeLeftMs?: number,
): PassReason | undefined {
  if (!ctx.providers.has(provider)) return 'NOT_CONFIGURED'
  if (channel === 'PUSH' && !hasPushToken) return 'NO_PUSH_TOKEN'
  return ctx.passReason(provider, timeLeftMs)?.reason
}

/** Returns the error for a caller when none of a plan's providers can be used. */
export function noUsableProvider(
  ctx: Pick<Context, 'passReason'>,
  passedOver: readonly PassedOver[],
  timeLeftMs: number,
): AppError {
  const named = passedOver.map(({ provider, reason }) => `${provider} ${reason}`).join(', ')
  const { provider = '', reason = '' } = passedOver.findLast((passed) => passed.reason !== 'NO_PUSH_TOKEN') ?? {}
  if (!reason) {
    return new AppError('DESTINATION_UNREACHABLE', `only push would serve, and there is no push token: ${named}`, {
      metadata: { provider: passedOver.at(-1)?.provider ?? '', provider_error_code: 'NO_PUSH_TOKEN' },
    })
  }
  if (passedOver.some((passed) => passed.reason === 'OVERLOADED')) {
    return overloaded(`too many deliveries are under way: ${named}`)
  }
  // Waiting mends nothing else, and a provider that this replica lacks can't be asked.
  const passing = passedOver.filter((passed) => passed.reason === 'PAUSED' || passed.reason === 'BREAKER_OPEN')
  const waits = passing.flatMap(({ provider }) => ctx.passReason(provider, timeLeftMs)?.lastsMs ?? [])
  return new AppError('PROVIDER_UNAVAILABLE', `no provider can be used now: ${named}`, {
    metadata: { provider, provider_error_code: reason },
    ...(waits.length > 0 && { retryAfterMs: Math.max(1, Math.min(...waits)) }),
  })
}
