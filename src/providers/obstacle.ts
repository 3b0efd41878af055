import type { HealthOf } from './provider-health.ts'

/** Why a provider should not be called at this moment. */
export interface Obstacle {
  reason: 'PAUSED' | 'BREAKER_OPEN' | 'OVERLOADED'
  /** How long it will last, in milliseconds. */
  lastsMs: number
}

/** Returns what keeps a provider from being called now by a caller who has `timeLeftMs` left, {@link Infinity} by default. */
export type ObstacleTo = (provider: string, timeLeftMs?: number) => Obstacle | undefined

/** Makes the function that looks for obstacles: first an operator's pause, then the provider's circuit breaker. */
export function createObstacle({
  pausedForMs,
  health,
}: {
  /** Not above zero when it isn't paused. */
  pausedForMs: (provider: string) => number
  health: HealthOf
}): ObstacleTo {
  return (provider, timeLeftMs = Number.POSITIVE_INFINITY) => {
    const pauseMs = pausedForMs(provider)
    if (pauseMs > 0) return { reason: 'PAUSED', lastsMs: Math.ceil(pauseMs) }
    const breakMs = health(provider).breakMs(timeLeftMs)
    return breakMs > 0 ? { reason: 'BREAKER_OPEN', lastsMs: breakMs } : undefined
  }
}
