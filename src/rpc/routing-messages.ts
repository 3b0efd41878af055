import type { MessageShape } from '@bufbuild/protobuf'
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
import type { Filled } from './filled.ts'
import { toTimestamp } from './times.ts'

/** Returns a version of the routing table as the contract shows it. `routes` is absent in lists of versions. */
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
}): Filled<MessageShape<typeof RoutingTableSchema>> {
  return { version, author, reason, publishTime: toTimestamp(publishedAt), routes: routes.map(toRouteMessage) }
}

/** Returns a row of the routing table as the contract shows it. */
export function toRouteMessage({
  priority,
  match,
  channels,
  fallbackOnUndelivered,
}: Route): Filled<MessageShape<typeof RouteSchema>> {
  const { channel, country, callingPrefix, transactionType, customerSegment, amount, timeWindow } = match
  return {
    priority,
    match: {
      channel: Channel[channel ?? 'UNSPECIFIED'],
      country: country ?? '',
      callingPrefix: callingPrefix ?? '',
      transactionType: transactionType ?? '',
      customerSegment: customerSegment ?? '',
      amount: amount ? { currencyCode: amount.currency, min: amount.min ?? '', max: amount.max ?? '' } : undefined,
      timeWindow: timeWindow ? { ...timeWindow, weekdays: timeWindow.weekdays.map((day) => Weekday[day]) } : undefined,
    },
    channels: channels.map((step) => ({ channel: Channel[step.channel], providers: step.providers })),
    fallbackOnUndelivered: fallbackOnUndelivered ?? false,
  }
}

/** Returns a provider as the contract shows it. */
export function toProvider(provider: ListedProvider): Filled<MessageShape<typeof ProviderSchema>> {
  const { name, channel, killSwitch, breaker, available, recent } = provider
  return {
    name,
    channel: Channel[channel],
    killSwitch: killSwitch ? toProviderSwitch(killSwitch, provider.isPaused) : undefined,
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

/** Returns the latest switch of a provider as the contract shows it. */
export function toProviderSwitch(
  { pausedUntil, author, reason, setAt }: NonNullable<ListedProvider['killSwitch']>,
  isPaused: boolean,
): Filled<MessageShape<typeof ProviderSwitchSchema>> {
  return {
    state: ProviderState[isPaused ? 'PAUSED' : 'ENABLED'],
    pauseUntil: pausedUntil ? toTimestamp(pausedUntil) : undefined,
    author,
    reason,
    setTime: toTimestamp(setAt),
  }
}
