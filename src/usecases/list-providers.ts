import type { Context } from '../context.ts'
import type { ProviderSwitch } from '../db/provider-switches.ts'
import type { Channel } from '../domain/challenge.ts'
import type { BreakerState, RecentCalls } from '../providers/provider-health.ts'

export interface ListedProvider {
  name: string
  channel: Channel
  /** What operators last said of it. */
  killSwitch: ProviderSwitch | undefined
  isPaused: boolean
  breaker: BreakerState
  /** It answers that it would serve us. */
  available: boolean
  recent: RecentCalls
}

/** A provider that takes longer to say that it is there isn't. */
const ASK_MS = 2_000

/** Lists the providers by name, each asked just now whether it would serve us. */
export async function listProviders(
  { providers, routing, health, clock }: Pick<Context, 'providers' | 'routing' | 'health' | 'clock'>,
  signal: AbortSignal,
): Promise<ListedProvider[]> {
  const listed = [...providers.values()].map(async ({ name, channel, isAvailable }) => {
    const available = await isAvailable(AbortSignal.any([signal, AbortSignal.timeout(ASK_MS)]))
    const killSwitch = routing.switches.get(name)
    const isPaused = Number(killSwitch?.pausedUntil) > clock().getTime()
    const { breaker, recent } = health(name)
    return { name, channel, killSwitch, isPaused, breaker, available, recent: recent() }
  })
  return (await Promise.all(listed)).toSorted((a, b) => (a.name < b.name ? -1 : 1))
}
