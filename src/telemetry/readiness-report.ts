import type { Logger } from './logger.ts'
import type { Metrics } from './metrics.ts'

/** Tells operators whether this replica is ready, and how far its clock is off. */
export function reportReadiness({ log, metrics }: { log: Logger; metrics: Metrics }) {
  return {
    onSkew: (skewMs: number) => metrics.clockSkew.set(skewMs / 1000),
    onSkewed(isSkewed: boolean, skewMs: number): void {
      if (isSkewed) log.warn({ skew_ms: Math.round(skewMs) }, "clock is more than 2 s off the database's")
      else log.info("clock agrees with the database's again")
    },
    onChange(problem: string | undefined, error: unknown): void {
      if (problem === undefined) log.info('ready again')
      else log.warn({ problem, error }, 'not ready')
    },
  }
}
