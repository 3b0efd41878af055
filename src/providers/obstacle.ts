import type { HealthOf } from './provider-health.ts'

/** Why a provider should not be called at this moment. */
export interface Obstacle {
  reason: 'PAUSED' | 'BREAKER_OPEN' | 'OVERLOADED'
  /** How long it will last, in milliseconds. */
  lastsMs: number
}

/** Tells what stands in the way of calling a provider: first what operators say, then its circuit breaker. */
export function createObstacle({
  pausedUntil,
  health,
  clock,
}: {
  pausedUntil: (provider: string) => Date | null | undefined
  health: HealthOf
  clock: () => Date
}): (provider: string) => Obstacle | undefined {
  return (provider) => {
    const pauseMs = (pausedUntil(provider)?.getTime() ?? 0) - clock().getTime()
    if (pauseMs > 0) return { reason: 'PAUSED', lastsMs: pauseMs }
    const breakMs = health(provider).breakMs()
    return breakMs > 0 ? { reason: 'BREAKER_OPEN', lastsMs: breakMs } : undefined
  }
}
