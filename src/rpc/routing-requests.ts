import {
  type ExplainRouteRequest,
  type ListRoutingTableVersionsRequest,
  type Route as ProtoRoute,
  Weekday as ProtoWeekday,
  ProviderState,
  type PublishRoutingTableRequest,
  type RollBackRoutingTableRequest,
  type SetProviderStateRequest,
  type SimulateRoutingTableRequest,
} from '../../gen/bank/signature/v1/routing_pb.ts'
import type { Context } from '../context.ts'
import { isRoute, type RouteDraft } from '../domain/route-draft.ts'
import type { Route } from '../domain/routing.ts'
import { MAX_CHANNELS, MAX_PROVIDERS, MAX_ROUTES, routingProblems } from '../domain/routing-problems.ts'
import { WEEKDAYS } from '../domain/time-window.ts'
import type { ExplainRoute } from '../usecases/explain-route.ts'
import type { PublishRoutingTable } from '../usecases/publish-routing-table.ts'
import type { SetProviderState } from '../usecases/set-provider-state.ts'
import { CHANNEL_NAMES, type Check, channel, parse, phone, text, transaction } from './request-fields.ts'
import { timeIn } from './times.ts'

type Providers = Pick<Context, 'providers'>

const MAX_VERSION = 2_147_483_647

/** Reads a version number. 0 is the version in force. Throws INVALID_FIELD. */
export function parseVersion(version: number): number {
  return parse((check) => versionIn(check, 'version', version))
}

/** Reads a ListRoutingTableVersionsRequest. Throws INVALID_FIELD with every wrong field. */
export function parseListVersions({ pageSize, pageToken }: ListRoutingTableVersionsRequest) {
  return parse((check) => ({
    pageSize: check('page_size', pageSize || 50, pageSize >= 0 && pageSize <= 100, 'must be 0 to 100'),
    before: check(
      'page_token',
      pageToken === '' ? MAX_VERSION : Number(pageToken),
      /^([1-9][0-9]{0,8})?$/.test(pageToken),
      'must be the next_page_token of a page',
    ),
  }))
}

/** Reads a PublishRoutingTableRequest. Throws INVALID_FIELD with every wrong field and every problem of the table. */
export function parsePublish(request: PublishRoutingTableRequest, { providers }: Providers): PublishRoutingTable {
  return parse((check) => ({
    replacesVersion: versionIn(check, 'replaces_version', request.replacesVersion),
    ...authorship(check, request),
    routes: routesIn(check, request.routes, providers),
  }))
}

/** Reads a RollBackRoutingTableRequest. Throws INVALID_FIELD with every wrong field. */
export function parseRollBack(request: RollBackRoutingTableRequest) {
  return parse((check) => ({
    version: check('version', request.version, request.version >= 1, 'must be 1 or more'),
    replacesVersion: versionIn(check, 'replaces_version', request.replacesVersion),
    ...authorship(check, request),
  }))
}

/** Reads an ExplainRouteRequest. Throws INVALID_FIELD with every wrong field. */
export function parseExplain(request: ExplainRouteRequest): ExplainRoute {
  return parse((check) => ({
    phone: phone(check, request.phoneNumber),
    transaction: transaction(check, request.transaction),
    channel: channel(check, request.channel),
    customerSegment: text(check, 'customer_segment', request.customerSegment, 0, 64),
    hasPushToken: request.hasPushToken,
    at: timeIn(check, 'time', request.time),
    version: versionIn(check, 'version', request.version),
  }))
}

/** Reads a SimulateRoutingTableRequest. Throws INVALID_FIELD with every wrong field and every problem of the draft. */
export function parseSimulate({ routes, signatures }: SimulateRoutingTableRequest, { providers }: Providers) {
  return parse((check) => ({
    routes: routesIn(check, routes, providers),
    signatures: check(
      'signatures',
      signatures || 1_000,
      signatures >= 0 && signatures <= 10_000,
      'must be 0 to 10,000',
    ),
  }))
}

/** Reads a SetProviderStateRequest. Throws INVALID_FIELD with every wrong field. */
export function parseSetState(request: SetProviderStateRequest, { providers }: Providers): SetProviderState {
  return parse((check) => {
    const { provider, state, pauseUntil } = request
    const paused = state === ProviderState.PAUSED
    const until = timeIn(check, 'pause_until', pauseUntil)
    check('state', state, paused || state === ProviderState.ENABLED, 'must be ENABLED or PAUSED')
    check('pause_until', until, paused === Boolean(until), 'is required with PAUSED and refused with ENABLED')
    return {
      provider: check(
        'provider',
        provider,
        providers.has(provider),
        `must be one of ${[...providers.keys()].join(', ')}`,
      ),
      pauseUntil: until,
      ...authorship(check, request),
    }
  })
}

function versionIn(check: Check, field: string, version: number): number {
  return check(field, version, version >= 0, 'must not be negative')
}

function authorship(check: Check, { author, reason }: { author: string; reason: string }) {
  return { author: text(check, 'author', author, 1, 128), reason: text(check, 'reason', reason, 1, 500) }
}

function routesIn(check: Check, sent: readonly ProtoRoute[], providers: Providers['providers']): Route[] {
  const drafts = oneTooMany(sent, MAX_ROUTES).map(toDraft)
  for (const { field, description } of routingProblems(drafts, providers)) check(field, undefined, false, description)
  return drafts.filter(isRoute)
}

/** Returns the beginning of `list`: enough for {@link routingProblems} to see that it is too long. */
function oneTooMany<T>(list: readonly T[], most: number): readonly T[] {
  return list.slice(0, most + 1)
}

/** Unknown channels and days become '', for {@link routingProblems} to report together with everything else. */
function toDraft({ priority, match, channels, fallbackOnUndelivered }: ProtoRoute): RouteDraft {
  const { amount, timeWindow } = match ?? {}
  return {
    priority,
    match: {
      channel: match?.channel ? (CHANNEL_NAMES.get(match.channel) ?? '') : null,
      country: match?.country || null,
      callingPrefix: match?.callingPrefix || null,
      transactionType: match?.transactionType || null,
      customerSegment: match?.customerSegment || null,
      amount: amount ? { currency: amount.currencyCode, min: amount.min || null, max: amount.max || null } : null,
      timeWindow: timeWindow
        ? {
            start: timeWindow.start,
            end: timeWindow.end,
            timeZone: timeWindow.timeZone,
            weekdays: oneTooMany(timeWindow.weekdays, WEEKDAYS.length).map(toWeekday),
          }
        : null,
    },
    channels: oneTooMany(channels, MAX_CHANNELS).map(({ channel, providers }) => ({
      channel: CHANNEL_NAMES.get(channel) ?? '',
      providers: oneTooMany(providers, MAX_PROVIDERS).map(({ provider, weight }) => ({ provider, weight })),
    })),
    ...(fallbackOnUndelivered && { fallbackOnUndelivered }),
  }
}

function toWeekday(day: ProtoWeekday): string {
  return WEEKDAYS.find((name) => ProtoWeekday[name] === day) ?? ''
}
