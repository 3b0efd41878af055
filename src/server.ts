import type { EventEmitter } from 'node:events'
import { openFallbacks } from './background/fallbacks.ts'
import { type Config, ConfigError, type DatabaseConfig } from './config.ts'
import { connectVendors } from './connect-vendors.ts'
import type { Context } from './context.ts'
import { openDatabase } from './db/database.ts'
import { replaceFirstRoutingTable } from './db/first-routing-table.ts'
import { compareKeys, NOT_COMPARED } from './db/key-checks.ts'
import { openListener } from './db/listener.ts'
import { openLiveRouting } from './db/live-routing.ts'
import { migrateDatabase as migrateTo } from './db/migrations.ts'
import { openReadiness, READINESS_TIMEOUT_MS } from './db/readiness.ts'
import { openSignatureNotices } from './db/signature-notices.ts'
import { storageFailure } from './db/storage-errors.ts'
import { openSweeper } from './db/sweeper.ts'
import { readLastPositions } from './db/timeline.ts'
import { startEmbeddedPostgres } from './embedded/embedded-postgres.ts'
import { loadOrCreateLocalKeys } from './embedded/local-keys.ts'
import { startAdminServer } from './http/admin-server.ts'
import { startHttpServer } from './http/http-server.ts'
import { createAvailability } from './providers/availability.ts'
import { createDeliver } from './providers/deliver.ts'
import { createInFlight } from './providers/in-flight.ts'
import { createObstacle } from './providers/obstacle.ts'
import { watchHealth } from './providers/provider-health.ts'
import { unknownProviders } from './providers/unknown-providers.ts'
import { startRpcServer } from './rpc/rpc-server.ts'
import { openLiveSecrets } from './secrets/live-secrets.ts'
import { createLogger, openLog } from './telemetry/logger.ts'
import { createMetrics } from './telemetry/metrics.ts'
import { reportReadiness } from './telemetry/readiness-report.ts'
import { reportSecretsReads } from './telemetry/secrets-report.ts'

/** A running service. Disposing lets calls under way end and stops everything that was started with it. */
export interface Server extends AsyncDisposable {
  readonly grpcPort: number
  readonly httpPort: number
  readonly adminPort: number
  /** Where the sandbox listens, when it stands in for the vendors. */
  readonly sandboxUrl: string | undefined
}

/** What nothing in the process has caught. */
export type Crashes = EventEmitter<{ crash: [Error] }>

/** What the process adds, or a test puts in another's place. */
export interface Overrides {
  /** Takes the log's lines instead of standard output. */
  log?: { write(line: string): void }
  /** Each is logged. */
  crashes?: Crashes
}

/** Calls under way have this long once the process is told to stop. */
const DRAIN_MS = 18_000
/** Lists and simulations: however many there are, callers keep the rest of the database. */
const OPERATOR_READS = { size: 2, statementTimeoutMs: 2_000 }
/** What a delivery's lease allows beyond its budget, for the writes around it. */
const LEASE_MARGIN_MS = 5_000

/** Puts the parts together and starts them. When one can't start, those before it are stopped again. */
export async function startServer(config: Config, overrides: Overrides = {}): Promise<Server> {
  await using starting = new AsyncDisposableStack()
  const metrics = createMetrics()
  const log = createLogger(config.logLevel, overrides.log ?? starting.use(openLog(() => metrics.logLinesDropped.inc())))
  overrides.crashes?.on('crash', (error) => log.fatal({ error }, 'uncaught'))
  const clock = () => new Date()

  const firstUrl = config.databaseUrl ?? starting.use(await startEmbeddedPostgres(config)).url
  const pooler = config.databasePooler
  await migrateTo(firstUrl, 'up', { pooler })
  const localKeys = config.keys ?? (await loadOrCreateLocalKeys(config.dataDir))
  const keyProblems = Object.values(await compareKeys(firstUrl, localKeys, { pooler }))
  if (keyProblems.length > 0) throw new Error(keyProblems.join('\n'))

  const databaseUrl = () => secrets.current.databaseUrl ?? firstUrl
  const connections = {
    pooler,
    onConnectionLost: (error: Error) => log.warn({ error }, 'database connection lost'),
    onPasswordRefused: () => secrets.readAgain(),
  }
  const database = starting.use(openDatabase(databaseUrl, { ...connections, size: config.databasePoolSize }))
  const { db } = database
  const operatorReads = starting.use(openDatabase(databaseUrl, { ...connections, ...OPERATOR_READS }))
  metrics.watchPool(database.poolSize)

  let serving = false
  const admin = starting.use(
    await startAdminServer({
      host: config.host,
      port: config.adminPort,
      metrics,
      async checkReady() {
        if (!serving) throw new Error('not serving')
        await readiness.check()
      },
    }),
  )
  const http = starting.use(await startHttpServer({ host: config.host, port: config.httpPort }))
  // What receipts have set off may go on while calls are drained, and is cut off when these have ended.
  const ending = new AbortController()
  // Waited for after that: what is cut off is recorded.
  const untilEnded = starting.use(new AsyncDisposableStack())
  starting.defer(() => ending.abort())

  const keys = () => secrets.current.keys ?? localKeys
  const vendors = starting.use(
    await connectVendors(config, { httpPort: http.port, piiKeys: () => keys().pii, clock, log }),
  )
  const { providers } = vendors
  const report = reportSecretsReads({ log, metrics })
  const secrets = starting.use(
    openLiveSecrets(config, {
      read: config.readAgain,
      everyMs: config.secretsRefreshMs,
      findKeyProblems: ({ databaseUrl: url = firstUrl, keys }) =>
        compareKeys(url, keys ?? localKeys, { pooler }).catch(() => NOT_COMPARED),
      onRead(taken) {
        if (taken.changed.length > 0) vendors.follow(taken.secrets)
        report.onRead(taken)
      },
      onError: (error) => report.onError(error, error instanceof ConfigError ? error.problems : ['the read failed']),
    }),
  )
  const health = watchHealth([...providers.values()], { breaker: config.circuitBreaker, metrics, log })

  await replaceFirstRoutingTable(db, [...providers.values()])
  let unknown: string[] = []
  const routing = starting.use(
    await openLiveRouting(db, {
      onTable({ version, routes }) {
        metrics.routingTableVersion.set(version)
        log.info({ routing_table_version: version }, 'routing table in force')
        unknown = unknownProviders(routes, providers)
        for (const problem of unknown) log.error({ routing_table_version: version }, problem)
      },
      onError: (error) => log.warn({ error }, 'routing table not read, the last one stays'),
    }),
  )
  const notices = starting.use(openSignatureNotices((ids) => readLastPositions(db, ids)))
  // Through a pooler in transaction mode nobody can listen: routing and watchers then rely on looking for themselves.
  if (pooler === 'none' || config.databaseListenUrl) {
    const listenUrl = () => secrets.current.databaseListenUrl ?? databaseUrl()
    starting.use(openListener(listenUrl, { routing: routing.notice, signature: notices.notice }))
  }
  // A table that comes later finds a replica that others rely on: that one goes on without what it lacks.
  if (unknown.length > 0) throw new Error(unknown.join('\n'))
  const pausedForMs = (provider: string) => routing.switches.get(provider)?.pausedForMs() ?? 0
  const obstacle = createObstacle({ pausedForMs, health })
  const inFlight = createInFlight(config.deliveriesInFlight)
  metrics.watchInFlight(inFlight.counts)
  metrics.watchPauses(() => new Map([...providers.keys()].map((name) => [name, pausedForMs(name) > 0])))

  const ctx: Context = {
    db,
    operatorReads,
    get keys() {
      return keys()
    },
    readSecretsAgain: secrets.readAgain,
    routing,
    notices,
    get providers() {
      return vendors.providers
    },
    isAvailable: createAvailability(clock),
    health,
    // Only before a delivery begins: one that is under way counts itself.
    obstacle: (provider, timeLeftMs) =>
      obstacle(provider, timeLeftMs) ??
      (inFlight.isFull(provider) ? { reason: 'OVERLOADED', lastsMs: 1_000 } : undefined),
    inFlight,
    deliver: createDeliver({
      policy: {
        retries: config.deliveryRetries,
        backoffMs: config.deliveryBackoffMs,
      },
      health,
      obstacle,
      metrics,
      log,
      clock,
      ending: ending.signal,
    }),
    get receiptReaders() {
      return vendors.receiptReaders
    },
    isStorageBusy: database.isBusy,
    ending: ending.signal,
    metrics,
    log,
    clock,
    challenges: {
      ttlMs: config.challengeTtlMs,
      maxTries: config.challengeMaxTries,
      budgetMs: config.deliveryBudgetMs,
      leaseMs: config.deliveryBudgetMs + LEASE_MARGIN_MS,
    },
  }

  http.serve(ctx)
  untilEnded.use(openFallbacks(ctx))
  const rpc = starting.use(
    await startRpcServer(ctx, {
      host: config.host,
      port: config.grpcPort,
      reflection: !config.production,
      maxConnectionAgeMs: config.grpcMaxConnectionAgeMs,
      drainMs: DRAIN_MS,
      storageFailure,
    }),
  )
  starting.use(
    openSweeper(db, {
      retentionMs: config.retentionMs,
      onLost({ challengeId, provider }) {
        metrics.deliveriesLost.inc({ provider })
        log.warn({ challenge_id: challengeId, provider }, 'lease expired, outcome unknown')
      },
      onExpired: (count) => metrics.signatures.inc({ status: 'EXPIRED' }, count),
      onRemoved(table, count) {
        metrics.rowsRemoved.inc({ table }, count)
        log.info({ table, count }, 'old rows removed')
      },
      onReceiptMissing: ({ provider, routePriority }) =>
        metrics.receiptsMissing.inc({ provider, route: String(routePriority) }),
      onError: (error) => log.warn({ error }, 'sweep failed'),
    }),
  )
  const readinessConnection = starting.use(
    openDatabase(databaseUrl, { ...connections, size: 1, statementTimeoutMs: READINESS_TIMEOUT_MS }),
  )
  const readinessReport = reportReadiness({ log, metrics })
  const readiness = starting.use(
    openReadiness(readinessConnection, clock, {
      ...readinessReport,
      onChange(problem, error) {
        rpc.setReady(problem === undefined)
        readinessReport.onChange(problem, error)
      },
    }),
  )
  serving = true
  const ports = { grpc_port: rpc.port, http_port: http.port, admin_port: admin.port }
  log.info({ ...ports, sandbox_url: vendors.sandboxUrl }, 'listening')

  const stopping = new AbortController()
  for (const provider of providers.values()) {
    const signal = AbortSignal.any([stopping.signal, AbortSignal.timeout(provider.timeoutMs)])
    provider.isAvailable(signal).then((available) => {
      if (!available && !stopping.signal.aborted) log.warn({ provider: provider.name }, 'provider not available')
    })
  }

  const running = starting.move()
  return {
    grpcPort: rpc.port,
    httpPort: http.port,
    adminPort: admin.port,
    sandboxUrl: vendors.sandboxUrl,
    async [Symbol.asyncDispose]() {
      serving = false
      stopping.abort()
      await running.disposeAsync()
    },
  }
}

/** Brings the database's schema up to date, or takes its last migration back. Gives the names of those that ran. */
export async function migrateDatabase(config: DatabaseConfig, direction: 'up' | 'down'): Promise<string[]> {
  await using embedded = config.databaseUrl === undefined ? await startEmbeddedPostgres(config) : undefined
  return await migrateTo(config.databaseUrl ?? embedded?.url ?? '', direction, { pooler: config.databasePooler })
}
