import type { Config } from './config.ts'
import type { ConnectedVendors } from './connect-vendors.ts'
import type { Context } from './context.ts'
import type { Database } from './db/database.ts'
import type { OpenSecrets } from './open-secrets.ts'
import { createAvailability } from './providers/availability.ts'
import { createDeliver } from './providers/deliver.ts'
import { createInFlight } from './providers/in-flight.ts'
import { createPassReason } from './providers/pass-reason.ts'
import { watchHealth } from './providers/provider-health.ts'

/** What a delivery's lease allows beyond its budget, for the writes around it. */
const LEASE_MARGIN_MS = 5_000
/** A caller refused by a full provider is told to wait this long. */
const FULL_MS = 1_000

/** The parts that were opened for the context, to be disposed of by the one that opened them. */
interface Opened
  extends Pick<Context, 'operatorReads' | 'routing' | 'notices' | 'ending' | 'metrics' | 'log' | 'clock'> {
  database: Database
  secrets: OpenSecrets
  vendors: ConnectedVendors
}

/** Puts the context together from what was opened, and has its metrics watch pauses and deliveries in flight. */
export function assembleContext(config: Config, { database, secrets, vendors, ...opened }: Opened): Context {
  const { routing, metrics, log } = opened
  const { providers } = vendors
  const health = watchHealth([...providers.values()], { breaker: config.circuitBreaker, metrics, log })
  const pausedForMs = (provider: string) => routing.switches.get(provider)?.pausedForMs() ?? 0
  metrics.watchPauses(() => new Map([...providers.keys()].map((name) => [name, pausedForMs(name) > 0])))
  const inFlight = createInFlight(config.deliveriesInFlight)
  metrics.watchInFlight(inFlight.counts)
  const passReason = createPassReason({ pausedForMs, health })
  const policy = { retries: config.deliveryRetries, backoffMs: config.deliveryBackoffMs }
  return {
    ...opened,
    db: database.db,
    isStorageBusy: database.isBusy,
    get keys() {
      return secrets.keys()
    },
    readSecretsAgain: secrets.readAgain,
    get providers() {
      return vendors.providers
    },
    get receiptReaders() {
      return vendors.receiptReaders
    },
    isAvailable: createAvailability(opened.clock),
    health,
    inFlight,
    // Only before a delivery begins: one that is under way counts itself.
    passReason: (provider, timeLeftMs) =>
      passReason(provider, timeLeftMs) ??
      (inFlight.isFull(provider) ? { reason: 'OVERLOADED', lastsMs: FULL_MS } : undefined),
    deliver: createDeliver({ ...opened, policy, health, passReason }),
    challenges: {
      ttlMs: config.challengeTtlMs,
      maxTries: config.challengeMaxTries,
      budgetMs: config.deliveryBudgetMs,
      leaseMs: config.deliveryBudgetMs + LEASE_MARGIN_MS,
    },
  }
}
