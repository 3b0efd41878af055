import { randomBytes } from 'node:crypto'
import type { Config } from './config.ts'
import type { Context } from './context.ts'
import { isStorageUnavailable, migrate, openDatabase, ping } from './db/database.ts'
import { startEmbeddedPostgres } from './db/embedded-postgres.ts'
import { readRoutes } from './db/routes.ts'
import { startHttpServer } from './http/http-server.ts'
import { createDeliver } from './providers/deliver.ts'
import { createTwilioSms } from './providers/twilio-sms.ts'
import { startRpcServer } from './rpc/rpc-server.ts'
import { startTwilioSimulator } from './sandbox/twilio-simulator.ts'
import { loadOrCreateLocalKeys } from './secrets/local-keys.ts'
import { createLogger, openLog } from './telemetry/logger.ts'
import { createMetrics } from './telemetry/metrics.ts'

/** A running service. Disposing lets calls under way end and stops everything that was started with it. */
export interface Server extends AsyncDisposable {
  readonly grpcPort: number
  readonly httpPort: number
  /** Where the Twilio simulator listens, when it stands in for Twilio. */
  readonly sandboxUrl: string | undefined
}

/** What a test puts in another's place. */
export interface Overrides {
  /** Takes the log's lines instead of standard output. */
  log?: { write(line: string): void }
}

/** Calls under way have this long once the process is told to stop. */
const DRAIN_MS = 18_000
/** What a delivery's lease allows beyond its budget, for the writes around it. */
const LEASE_MARGIN_MS = 5_000

/** Puts the parts together and starts them. When one can't start, those before it are stopped again. */
export async function startServer(config: Config, overrides: Overrides = {}): Promise<Server> {
  await using starting = new AsyncDisposableStack()
  const metrics = createMetrics()
  const log = createLogger(config.logLevel, overrides.log ?? starting.use(openLog(() => metrics.logLinesDropped.inc())))
  const clock = () => new Date()

  const databaseUrl = config.databaseUrl ?? starting.use(await startEmbeddedPostgres(config)).url
  const { db, poolSize } = starting.use(
    openDatabase(databaseUrl, (error) => log.warn({ error }, 'database connection lost')),
  )
  metrics.watchPool(poolSize)
  await migrateTo(databaseUrl, 'up')

  const account = config.twilio ?? sandboxAccount()
  const sandbox = config.twilio
    ? undefined
    : starting.use(await startTwilioSimulator({ ...account, host: config.host, port: config.sandboxPort }))
  const apiUrl = config.twilio?.apiUrl ?? sandbox?.url ?? ''
  const providers = new Map(
    [createTwilioSms({ ...account, apiUrl, clock })].map((provider) => [provider.name, provider]),
  )

  const routes = await readRoutes(db)
  for (const { priority, channel, provider } of routes) {
    if (providers.get(provider)?.channel === channel) continue
    const known = [...providers.values()].map(({ name, channel }) => `${name} for ${channel}`).join(', ')
    throw new Error(`the route with priority ${priority} names "${provider}" for ${channel}; there is only ${known}`)
  }

  const ctx: Context = {
    db,
    keys: config.keys ?? (await loadOrCreateLocalKeys(config.dataDir)),
    routes,
    providers,
    deliver: createDeliver({
      policy: {
        retries: config.deliveryRetries,
        backoffMs: config.deliveryBackoffMs,
        callTimeoutMs: config.twilioTimeoutMs,
        budgetMs: config.deliveryBudgetMs,
      },
      metrics,
      log,
      clock,
    }),
    metrics,
    log,
    clock,
    challenges: {
      ttlMs: config.challengeTtlMs,
      maxTries: config.challengeMaxTries,
      leaseMs: config.deliveryBudgetMs + LEASE_MARGIN_MS,
    },
  }

  let serving = false
  const http = starting.use(
    await startHttpServer({
      host: config.host,
      port: config.httpPort,
      metrics,
      async checkReady() {
        if (!serving) throw new Error('not serving')
        await ping(db)
      },
    }),
  )
  const rpc = starting.use(
    await startRpcServer(ctx, {
      host: config.host,
      port: config.grpcPort,
      reflection: !config.production,
      drainMs: DRAIN_MS,
      isStorageUnavailable,
    }),
  )
  serving = true
  log.info({ grpc_port: rpc.port, http_port: http.port, sandbox_url: sandbox?.url }, 'listening')

  const stopping = new AbortController()
  for (const provider of providers.values()) {
    const signal = AbortSignal.any([stopping.signal, AbortSignal.timeout(config.twilioTimeoutMs)])
    provider.isAvailable(signal).then((available) => {
      if (!available && !stopping.signal.aborted) log.warn({ provider: provider.name }, 'provider not available')
    })
  }

  const running = starting.move()
  return {
    grpcPort: rpc.port,
    httpPort: http.port,
    sandboxUrl: sandbox?.url,
    async [Symbol.asyncDispose]() {
      serving = false
      stopping.abort()
      await running.disposeAsync()
    },
  }
}

/** Brings the database's schema up to date, or takes its last migration back. Gives the names of those that ran. */
export async function migrateDatabase(config: Config, direction: 'up' | 'down'): Promise<string[]> {
  await using embedded = config.databaseUrl === undefined ? await startEmbeddedPostgres(config) : undefined
  return await migrateTo(config.databaseUrl ?? embedded?.url ?? '', direction)
}

async function migrateTo(databaseUrl: string, direction: 'up' | 'down'): Promise<string[]> {
  await using database = openDatabase(databaseUrl, () => {}, 0)
  return await migrate(database.db, direction)
}

/** Credentials that only the simulator of this process knows. */
function sandboxAccount() {
  return {
    accountSid: `AC${randomBytes(16).toString('hex')}`,
    authToken: randomBytes(16).toString('hex'),
    fromNumber: '+15005550006', // the sender that Twilio's test credentials accept
  }
}
