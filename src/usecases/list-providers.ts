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
  /** It would serve us, as it said within the last 10 s. */
  available: boolean
  recent: RecentCalls
}

/** Lists the providers by name. */
export async function listProviders({
  providers,
  isAvailable,
  routing,
  health,
}: Pick<Context, 'providers' | 'isAvailable' | 'routing' | 'health'>): Promise<ListedProvider[]> {
  const listed = [...providers.values()].map(async (provider) => {
    const { name, channel } = provider
    const available = await isAvailable(provider)
    const killSwitch = routing.switches.get(name)
    const isPaused = (killSwitch?.pausedForMs() ?? 0) > 0
    const { breaker, recent } = health(name)
    return { name, channel, killSwitch, isPaused, breaker, available, recent: recent() }
  })
  return (await Promise.all(listed)).toSorted((a, b) => (a.name < b.name ? -1 : 1))
}
