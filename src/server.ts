import type { EventEmitter } from 'node:events'
import { assembleContext } from './assemble-context.ts'
import { openFallbacks } from './background/fallbacks.ts'
import type { Config, DatabaseConfig } from './config.ts'
import { connectVendors } from './connect-vendors.ts'
import { openDatabase, type PoolConfig } from './db/database.ts'
import { compareKeys } from './db/key-checks.ts'
import { openListener } from './db/listener.ts'
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
import { openRouting } from './open-routing.ts'
import { openSecrets } from './open-secrets.ts'
import { askProviders } from './providers/availability.ts'
import { startRpcServer } from './rpc/rpc-server.ts'
import { createLogger, openLog } from './telemetry/logger.ts'
import { createMetrics } from './telemetry/metrics.ts'
import { reportReadiness } from './telemetry/readiness-report.ts'
import { reportSweeps } from './telemetry/sweep-report.ts'

/** A running service. Disposing lets calls under way end, then stops everything that was started with it. */
export interface Server extends AsyncDisposable {
  readonly grpcPort: number
  readonly httpPort: number
  readonly adminPort: number
  /** Where the sandbox listens; undefined where it doesn't stand in for the vendors. */
  readonly sandboxUrl: string | undefined
}

/** Emits the errors that nothing in the process has caught. */
export type Crashes = EventEmitter<{ crash: [Error] }>

/** What the process adds, or a test replaces. */
export interface Overrides {
  /** Receives the log's lines instead of standard output. */
  log?: { write(line: string): void }
  /** Each crash is logged. */
  crashes?: Crashes
}

/** How long calls under way may take once the process is told to stop. */
const DRAIN_MS = 18_000
/** For lists and simulations: however many there are, callers keep the rest of the database. */
const OPERATOR_READS = { size: 2, statementTimeoutMs: 2_000 }

/** Puts the parts together and starts them. If one can't start, stops those before it and throws. */
export async function startServer(config: Config, overrides: Overrides = {}): Promise<Server> {
  await using starting = new AsyncDisposableStack()
  const metrics = createMetrics()
  const log = createLogger(config.logLevel, overrides.log ?? starting.use(openLog(() => metrics.logLinesDropped.inc())))
  overrides.crashes?.on('crash', (error) => log.fatal({ error }, 'uncaught'))
  const clock = () => new Date()
  const reporting = { log, metrics }
  const { host, databasePooler: pooler } = config

  const url = config.databaseUrl ?? starting.use(await startEmbeddedPostgres(config)).url
  await migrateTo(url, 'up', { pooler })
  const keys = config.keys ?? (await loadOrCreateLocalKeys(config.dataDir))
  const keyProblems = Object.values(await compareKeys(url, keys, { pooler }))
  if (keyProblems.length > 0) throw new Error(keyProblems.join('\n'))
  const secrets = starting.use(openSecrets(config, { databaseUrl: url, keys }, reporting))

  const open = (pool: PoolConfig) =>
    starting.use(
      openDatabase(secrets.databaseUrl, {
        pooler,
        onConnectionLost: (error) => log.warn({ error }, 'database connection lost'),
        onPasswordRefused: secrets.readAgain,
        ...pool,
      }),
    )
  const database = open({ size: config.databasePoolSize })
  const operatorReads = open(OPERATOR_READS)
  metrics.watchPool(database.poolSize)

  let checkReady = notServing
  const admin = starting.use(
    await startAdminServer({ host, port: config.adminPort, metrics, checkReady: () => checkReady() }),
  )
  const http = starting.use(await startHttpServer({ host, port: config.httpPort }))
  // What receipts have set off may go on while calls are drained, and is cut off when these have ended.
  const ending = new AbortController()
  // Waited for after that: what is cut off is recorded.
  const untilEnded = starting.use(new AsyncDisposableStack())
  starting.defer(() => ending.abort())

  const vendors = starting.use(
    await connectVendors(config, { httpPort: http.port, piiKeys: () => secrets.keys().pii, clock, log }),
  )
  secrets.onChange(vendors.follow)
  const routing = starting.use(await openRouting(database.db, vendors.providers, reporting))
  const notices = starting.use(openSignatureNotices((ids) => readLastPositions(database.db, ids)))
  // Through a pooler in transaction mode no process can listen: routing and watchers then rely on their own looks.
  if (pooler === 'none' || config.databaseListenUrl) {
    starting.use(openListener(secrets.databaseListenUrl, { routing: routing.notice, signature: notices.notice }))
  }

  const ctx = assembleContext(config, {
    ...{ database, operatorReads, secrets, vendors, routing, notices, metrics, log, clock },
    ending: ending.signal,
  })
  http.serve(ctx)
  untilEnded.use(openFallbacks(ctx))
  const rpc = starting.use(
    await startRpcServer(ctx, {
      host,
      port: config.grpcPort,
      reflection: !config.production,
      maxConnectionAgeMs: config.grpcMaxConnectionAgeMs,
      drainMs: DRAIN_MS,
      storageFailure,
    }),
  )
  starting.use(openSweeper(database.db, { retentionMs: config.retentionMs, ...reportSweeps(reporting) }))
  const readiness = starting.use(
    openReadiness(
      open({ size: 1, statementTimeoutMs: READINESS_TIMEOUT_MS }),
      clock,
      reportReadiness(reporting, rpc.setReady),
    ),
  )
  checkReady = readiness.check
  const ports = { grpc_port: rpc.port, http_port: http.port, admin_port: admin.port }
  log.info({ ...ports, sandbox_url: vendors.sandboxUrl }, 'listening')

  const stopping = new AbortController()
  askProviders(vendors.providers, stopping.signal, (provider) => log.warn({ provider }, 'provider not available'))

  const running = starting.move()
  return {
    grpcPort: rpc.port,
    httpPort: http.port,
    adminPort: admin.port,
    sandboxUrl: vendors.sandboxUrl,
    async [Symbol.asyncDispose]() {
      checkReady = notServing
      stopping.abort()
      await running.disposeAsync()
    },
  }
}

/** Brings the database's schema up to date, or takes its last migration back. Returns the names of the migrations that ran. */
export async function migrateDatabase(config: DatabaseConfig, direction: 'up' | 'down'): Promise<string[]> {
  await using embedded = config.databaseUrl === undefined ? await startEmbeddedPostgres(config) : undefined
  return await migrateTo(config.databaseUrl ?? embedded?.url ?? '', direction, { pooler: config.databasePooler })
}

async function notServing(): Promise<void> {
  throw new Error('not serving')
}
