import type { Db } from './db/database.ts'
import type { Keys } from './domain/keys.ts'
import type { Route } from './domain/routing.ts'
import type { Deliver } from './providers/deliver.ts'
import type { SignatureProvider } from './providers/provider.ts'
import type { Logger } from './telemetry/logger.ts'
import type { Metrics } from './telemetry/metrics.ts'

/** What lives as long as the process. Use cases name the slice of it that they use. */
export interface Context {
  db: Db
  keys: Keys
  /** By priority. */
  routes: readonly Route[]
  /** By name; holds every provider that a route names. */
  providers: ReadonlyMap<string, SignatureProvider>
  deliver: Deliver
  metrics: Metrics
  log: Logger
  clock: () => Date
  challenges: {
    ttlMs: number
    maxTries: number
    /** How long a delivery may take before its process counts as dead. */
    leaseMs: number
  }
}
