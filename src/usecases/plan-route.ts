import type { Context } from '../context.ts'
import type { Candidate, Channel, PassedOver, PassReason } from '../domain/challenge.ts'
import { candidatesOf, drawSeed, nextCandidate } from '../domain/fallback.ts'
import { lookUpHmac } from '../domain/look-up-hmac.ts'
import { countryOf } from '../domain/phone.ts'
import { matchRoute, type Route, type RoutingRequest } from '../domain/routing.ts'
import { type Transaction, transactionDigest } from '../domain/transaction.ts'
import { AppError, overloaded } from '../errors.ts'

/** What a route is found by. */
export interface RouteQuery {
  /** E.164. */
  phone: string
  transaction: Transaction
  /** Undefined lets the routing table decide. */
  channel: Channel | undefined
  customerSegment: string
}

/** The row that serves a request, and its providers in the order in which they are tried. */
export interface Plan {
  route: Route
  routingTableVersion: number
  candidates: Candidate[]
  /** No caller waits for what is sent by it. */
  isUnattended: boolean
}

/** Finds the row for a request in the table in force; undefined when none matches. */
export function planRoute(ctx: Pick<Context, 'routing' | 'keys' | 'clock'>, query: RouteQuery): Plan | undefined {
  const { routes, version } = ctx.routing
  const route = matchRoute(routes, routingRequest(query, ctx.clock()))
  return (
    route && { route, routingTableVersion: version, candidates: candidatesFor(ctx, route, query), isUnattended: false }
  )
}

/** What the table is asked. */
export function routingRequest({ phone, transaction, channel, customerSegment }: RouteQuery, at: Date): RoutingRequest {
  const { amount, transactionType } = transaction
  return { phone, country: countryOf(phone), amount, transactionType, customerSegment, channel, at }
}

/** A row's providers in the order in which they are tried for a request. */
export function candidatesFor(
  { keys }: Pick<Context, 'keys'>,
  route: Route,
  { phone, transaction }: RouteQuery,
): Candidate[] {
  return candidatesOf(route, drawSeed(lookUpHmac(keys.index, 'phone', phone), transactionDigest(transaction)))
}

/** The next provider of a plan that can be used now by a caller with this time left, and those passed over for it. */
export function nextUsable(
  ctx: Pick<Context, 'providers' | 'obstacle'>,
  { candidates }: Plan,
  passedOver: readonly PassedOver[],
  hasPushToken: boolean,
  timeLeftMs?: number,
): ReturnType<typeof nextCandidate> {
  return nextCandidate(candidates, passedOver, (candidate) => obstacleTo(ctx, candidate, hasPushToken, timeLeftMs))
}

/** What stands in the way of using a candidate right now. */
export function obstacleTo(
  ctx: Pick<Context, 'providers' | 'obstacle'>,
  { provider, channel }: Candidate,
  hasPushToken: boolean,
  timeLeftMs?: number,
): PassReason | undefined {
  if (!ctx.providers.has(provider)) return 'NOT_CONFIGURED'
  if (channel === 'PUSH' && !hasPushToken) return 'NO_PUSH_TOKEN'
  return ctx.obstacle(provider, timeLeftMs)?.reason
}

/** What a caller is told when none of a plan's providers can be used. */
export function noUsableProvider(
  ctx: Pick<Context, 'obstacle'>,
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
  // Nothing else is mended by waiting, and a provider that this replica lacks can't be asked.
  const passing = passedOver.filter((passed) => passed.reason === 'PAUSED' || passed.reason === 'BREAKER_OPEN')
  const waits = passing.flatMap(({ provider }) => ctx.obstacle(provider, timeLeftMs)?.lastsMs ?? [])
  return new AppError('PROVIDER_UNAVAILABLE', `no provider can be used now: ${named}`, {
    metadata: { provider, provider_error_code: reason },
    ...(waits.length > 0 && { retryAfterMs: Math.max(1, Math.min(...waits)) }),
  })
}
