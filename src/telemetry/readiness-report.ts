import type { Logger } from './logger.ts'
import type { Metrics } from './metrics.ts'

/** Reports to operators and to `setReady` whether this replica is ready, and to operators how far its clock is off. */
export function reportReadiness(
  { log, metrics }: { log: Logger; metrics: Metrics },
  setReady: (isReady: boolean) => void,
) {
  return {
    onSkew: (skewMs: number) => metrics.clockSkew.set(skewMs / 1000),
    onSkewed(isSkewed: boolean, skewMs: number): void {
      if (isSkewed) log.warn({ skew_ms: Math.round(skewMs) }, "clock is more than 2 s off the database's")
      else log.info("clock agrees with the database's again")
    },
    onChange(problem: string | undefined, error: unknown): void {
      setReady(problem === undefined)
      if (problem === undefined) log.info('ready again')
      else log.warn({ problem, error }, 'not ready')
    },
  }
}
