import type { Database, Db } from './db/database.ts'
import type { LiveRouting } from './db/live-routing.ts'
import type { SignatureNotices } from './db/signature-notices.ts'
import type { Keys } from './domain/keys.ts'
import type { Availability } from './providers/availability.ts'
import type { Deliver } from './providers/deliver.ts'
import type { InFlight } from './providers/in-flight.ts'
import type { PassReasonNow } from './providers/pass-reason.ts'
import type { SignatureProvider } from './providers/provider.ts'
import type { HealthOf } from './providers/provider-health.ts'
import type { ReceiptReader } from './providers/receipt-reader.ts'
import type { Logger } from './telemetry/logger.ts'
import type { Metrics } from './telemetry/metrics.ts'

/** Everything that lives as long as the process. Use cases name the slice of it that they use. */
export interface Context {
  db: Db
  /** A pool of its own, for lists and simulations. */
  operatorReads: Pick<Database, 'db' | 'isBusy'>
  /** As last read, like `providers` and `receiptReaders`. A rotation replaces them, so read them at each use. */
  readonly keys: Keys
  /** Reads the secrets now, as another replica may know newer ones. Never rejects: if reading fails, the old ones stay. */
  readSecretsAgain(): Promise<void>
  routing: LiveRouting
  notices: SignatureNotices
  /** By name. */
  readonly providers: ReadonlyMap<string, SignatureProvider>
  isAvailable: Availability
  health: HealthOf
  /** Why a provider is passed over right now. */
  passReason: PassReasonNow
  inFlight: InFlight
  deliver: Deliver
  readonly receiptReaders: readonly ReceiptReader[]
  /** True while the queue for database connections is full. */
  isStorageBusy: () => boolean
  /** Aborted once the process has drained. For work that no caller waits for. */
  ending: AbortSignal
  metrics: Metrics
  log: Logger
  clock: () => Date
  challenges: {
    ttlMs: number
    maxTries: number
    /** For all calls and waits from a start to its answer, over all its providers. */
    budgetMs: number
    /** How long a delivery may take before its process counts as dead. */
    leaseMs: number
  }
}
