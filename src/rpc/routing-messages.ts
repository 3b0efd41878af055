import type { MessageInitShape } from '@bufbuild/protobuf'
import { durationFromMs } from '@bufbuild/protobuf/wkt'
import {
  BreakerState,
  type ProviderSchema,
  ProviderState,
  type ProviderSwitchSchema,
  type RouteSchema,
  type RoutingTableSchema,
  Weekday,
} from '../../gen/bank/signature/v1/routing_pb.ts'
import { Channel } from '../../gen/bank/signature/v1/signature_pb.ts'
import type { Route } from '../domain/routing.ts'
import type { ListedProvider } from '../usecases/list-providers.ts'
import { toTimestamp } from './times.ts'

/** A version of the routing table as the contract shows it; its rows only where they are given. */
export function toRoutingTable({
  version,
  author,
  reason,
  publishedAt,
  routes = [],
}: {
  version: number
  author: string
  reason: string
  publishedAt: Date
  routes?: Route[]
}): MessageInitShape<typeof RoutingTableSchema> {
  return { version, author, reason, publishTime: toTimestamp(publishedAt), routes: routes.map(toRouteMessage) }
}

/** A row of the routing table as the contract shows it. */
export function toRouteMessage({
  priority,
  match,
  channels,
  fallbackOnUndelivered,
}: Route): MessageInitShape<typeof RouteSchema> {
  const { channel, country, callingPrefix, transactionType, customerSegment, amount, timeWindow } = match
  return {
    priority,
    match: {
      channel: Channel[channel ?? 'UNSPECIFIED'],
      country: country ?? '',
      callingPrefix: callingPrefix ?? '',
      transactionType: transactionType ?? '',
      customerSegment: customerSegment ?? '',
      ...(amount && { amount: { currencyCode: amount.currency, min: amount.min ?? '', max: amount.max ?? '' } }),
      ...(timeWindow && { timeWindow: { ...timeWindow, weekdays: timeWindow.weekdays.map((day) => Weekday[day]) } }),
    },
    channels: channels.map((step) => ({ channel: Channel[step.channel], providers: step.providers })),
    fallbackOnUndelivered: fallbackOnUndelivered ?? false,
  }
}

/** A provider as the contract shows it. */
export function toProvider(provider: ListedProvider): MessageInitShape<typeof ProviderSchema> {
  const { name, channel, killSwitch, breaker, available, recent } = provider
  return {
    name,
    channel: Channel[channel],
    ...(killSwitch && { killSwitch: toProviderSwitch(killSwitch, provider.isPaused) }),
    breakerState: BreakerState[breaker === 'OFF' ? 'UNSPECIFIED' : breaker],
    available,
    recentCalls: {
      window: durationFromMs(recent.windowMs),
      calls: recent.calls,
      errorRate: recent.errorRate,
      medianLatency: durationFromMs(Math.round(recent.medianMs)),
      p95Latency: durationFromMs(Math.round(recent.p95Ms)),
    },
  }
}

/** What operators said of a provider as the contract shows it. */
export function toProviderSwitch(
  { pausedUntil, author, reason, setAt }: NonNullable<ListedProvider['killSwitch']>,
  isPaused: boolean,
): MessageInitShape<typeof ProviderSwitchSchema> {
  return {
    state: ProviderState[isPaused ? 'PAUSED' : 'ENABLED'],
    ...(pausedUntil && { pauseUntil: toTimestamp(pausedUntil) }),
    author,
    reason,
    setTime: toTimestamp(setAt),
  }
}
