import type { PassReason } from '../domain/challenge.ts'
import type { HealthOf } from './provider-health.ts'

/** Why a provider is passed over at this moment. */
export interface MomentaryReason {
  reason: Extract<PassReason, 'PAUSED' | 'BREAKER_OPEN' | 'OVERLOADED'>
  /** How long that will last, in milliseconds. */
  lastsMs: number
}

/**
 * Returns why `provider` is passed over by a caller with `timeLeftMs` left, {@link Infinity} by default; undefined if it can
 * be called.
 */
export type PassReasonNow = (provider: string, timeLeftMs?: number) => MomentaryReason | undefined

/** Makes the function that asks first for an operator's pause, then for the provider's circuit breaker. */
export function createPassReason({
  pausedForMs,
  health,
}: {
  /** Not above zero when the provider isn't paused. */
  pausedForMs: (provider: string) => number
  health: HealthOf
}): PassReasonNow {
  return (provider, timeLeftMs = Number.POSITIVE_INFINITY) => {
    const pauseMs = pausedForMs(provider)
    if (pauseMs > 0) return { reason: 'PAUSED', lastsMs: Math.ceil(pauseMs) }
    const breakMs = health(provider).breakMs(timeLeftMs)
    return breakMs > 0 ? { reason: 'BREAKER_OPEN', lastsMs: breakMs } : undefined
  }
}
