import type { HealthOf } from './provider-health.ts'

/** Why a provider should not be called at this moment. */
export interface Obstacle {
  reason: 'PAUSED' | 'BREAKER_OPEN' | 'OVERLOADED'
  /** How long it will last, in milliseconds. */
  lastsMs: number
}

/** What stands in the way of calling a provider, for a caller with this time left; {@link Infinity} unless told. */
export type ObstacleTo = (provider: string, timeLeftMs?: number) => Obstacle | undefined

/** Looks for obstacles: first what operators say, then the provider's circuit breaker. */
export function createObstacle({
  pausedUntil,
  health,
  clock,
}: {
  pausedUntil: (provider: string) => Date | null | undefined
  health: HealthOf
  clock: () => Date
}): ObstacleTo {
  return (provider, timeLeftMs = Number.POSITIVE_INFINITY) => {
    const pauseMs = (pausedUntil(provider)?.getTime() ?? 0) - clock().getTime()
    if (pauseMs > 0) return { reason: 'PAUSED', lastsMs: pauseMs }
    const breakMs = health(provider).breakMs(timeLeftMs)
    return breakMs > 0 ? { reason: 'BREAKER_OPEN', lastsMs: breakMs } : undefined
  }
}
