import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client'

/** What one vendor's adapters count. */
interface ProviderMetrics {
  /** Deliveries by how they ended after all their calls. */
  calls: Counter<'status'>
  /** Seconds of one call. */
  latency: Histogram<'status'>
  /** Failed calls by the provider's code. */
  errors: Counter<'error_code'>
}

export type Metrics = ReturnType<typeof createMetrics>

/** Every metric of the service, in a registry of its own. No label holds a customer, a phone number or an id. */
export function createMetrics() {
  const registry = new Registry()
  const registers = [registry]
  const vendors = new Map<string, ProviderMetrics>()
  const breakers = new Gauge({
    name: 'circuit_breaker_state',
    help: '1 for the state that the circuit breaker of the provider is in.',
    labelNames: ['provider', 'state'],
    registers,
  })
  collectDefaultMetrics({ register: registry })

  return {
    registry,
    /** The metrics of the vendor that a provider's name begins with: `twilio-sms` counts under `provider_twilio_…`. */
    provider(name: string): ProviderMetrics {
      const vendor = name.split('-')[0] ?? name
      const known = vendors.get(vendor) ?? createProviderMetrics(vendor, registers)
      vendors.set(vendor, known)
      return known
    },
    deliveries: new Counter({
      name: 'challenge_deliveries_total',
      help: 'Challenges by how their delivery ended: sent, unknown, failed.',
      labelNames: ['provider', 'channel', 'outcome'],
      registers,
    }),
    signatures: new Counter({
      name: 'signatures_total',
      help: 'Signatures that came to a status.',
      labelNames: ['status'],
      registers,
    }),
    signaturesAltered: new Counter({
      name: 'signatures_altered_total',
      help: 'Reads of a signature whose stored transaction does not match its digest: its row was changed by something else.',
      registers,
    }),
    rpcDuration: new Histogram({
      name: 'rpc_duration_seconds',
      help: 'Time from an RPC to the end of its answer.',
      labelNames: ['method', 'code'],
      buckets: [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 15, 30],
      registers,
    }),
    fallbacks: new Counter({
      name: 'challenge_fallbacks_total',
      help: 'Challenges that took the place of one that was not sent, by the provider that failed and the next.',
      labelNames: ['from', 'to', 'reason'],
      registers,
    }),
    receipts: new Counter({
      name: 'challenge_receipts_total',
      help: 'Receipts that came: recorded, repeated, unknown (of no message of ours), forged.',
      labelNames: ['provider', 'outcome'],
      registers,
    }),
    receiptsMissing: new Counter({
      name: 'challenge_receipts_missing_total',
      help: 'Messages whose code expired without any receipt, by the row of the routing table that chose the provider.',
      labelNames: ['provider', 'route'],
      registers,
    }),
    deliveryTime: new Histogram({
      name: 'challenge_delivery_seconds',
      help: 'Time from a message being sent to its receipt saying that it was delivered.',
      labelNames: ['provider', 'country'],
      buckets: [0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300],
      registers,
    }),
    routingTableVersion: new Gauge({
      name: 'routing_table_version',
      help: 'The version of the routing table that this replica obeys.',
      registers,
    }),
    /** Shows how a provider's circuit breaker stands. */
    showBreaker(provider: string, state: string) {
      for (const each of ['CLOSED', 'HALF_OPEN', 'OPEN'])
        breakers.set({ provider, state: each }, Number(each === state))
    },
    /** Shows which providers operators have paused. */
    watchPauses(paused: () => ReadonlyMap<string, boolean>) {
      new Gauge({
        name: 'provider_paused',
        help: '1 while operators have paused the provider.',
        labelNames: ['provider'],
        registers,
        collect() {
          for (const [provider, isPaused] of paused()) this.set({ provider }, Number(isPaused))
        },
      })
    },
    deliveriesLost: new Counter({
      name: 'challenge_deliveries_lost_total',
      help: 'Deliveries whose lease ran out: their process died before it said what became of them.',
      labelNames: ['provider'],
      registers,
    }),
    rowsRemoved: new Counter({
      name: 'database_rows_removed_total',
      help: 'Idempotency keys and finished signatures that were removed for their age.',
      labelNames: ['table'],
      registers,
    }),
    /** Shows how many deliveries are under way with each provider. */
    watchInFlight(counts: ReadonlyMap<string, number>) {
      new Gauge({
        name: 'challenge_deliveries_in_flight',
        help: 'Deliveries under way.',
        labelNames: ['provider'],
        registers,
        collect() {
          for (const [provider, count] of counts) this.set({ provider }, count)
        },
      })
    },
    /** Shows the connections of a database pool. */
    watchPool(poolSize: () => { total: number; idle: number; waiting: number }) {
      new Gauge({
        name: 'database_pool_connections',
        help: 'Database connections by state; waiting are callers without one.',
        labelNames: ['state'],
        registers,
        collect() {
          for (const [state, count] of Object.entries(poolSize())) this.set({ state }, count)
        },
      })
    },
    clockSkew: new Gauge({
      name: 'clock_skew_seconds',
      help: "How far this replica's clock is ahead of the database's; negative: behind.",
      registers,
    }),
    secretsReads: new Counter({
      name: 'secrets_reads_total',
      help: 'Reads of the secrets while running: unchanged, changed, refused (something needs a restart), failed.',
      labelNames: ['outcome'],
      registers,
    }),
    logLinesDropped: new Counter({
      name: 'log_lines_dropped_total',
      help: 'Log writes given up because the reader of the log stood still and the buffer was full.',
      registers,
    }),
  }
}

function createProviderMetrics(vendor: string, registers: Registry[]): ProviderMetrics {
  return {
    calls: new Counter({
      name: `provider_${vendor}_calls_total`,
      help: 'Deliveries by how they ended after all their calls.',
      labelNames: ['status'],
      registers,
    }),
    latency: new Histogram({
      name: `provider_${vendor}_latency_seconds`,
      help: 'Time of one call to the provider.',
      labelNames: ['status'],
      buckets: [0.05, 0.1, 0.25, 0.5, 1, 2, 3, 4, 5, 10],
      registers,
    }),
    errors: new Counter({
      name: `provider_${vendor}_errors_total`,
      help: "Failed calls by the provider's code.",
      labelNames: ['error_code'],
      registers,
    }),
  }
}
