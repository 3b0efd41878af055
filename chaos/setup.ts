import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import pg from 'pg'
import { startSandbox } from '../src/sandbox/sandbox.ts'
import { createSandboxAccounts, sandboxSettings } from '../src/sandbox/sandbox-accounts.ts'
import { randomKey } from '../test/support/requests.ts'
import { checkLine } from './clear-text.ts'
import { type ReplicatedPostgres, startReplicatedPostgres } from './cluster.ts'
import { startReplica } from './replicas.ts'
import { noteVendor } from './vendor.ts'
import { violate, type World } from './world.ts'

const ROOT = join(import.meta.dirname, '..')
const DATABASE = 'signatures'
const ROLE = 'router'
const MAX_TRIES = 5
const STARTED_WITHIN_MS = 60_000

/** Short, so that what has to time out does so while one waits. */
const SETTINGS = {
  DELIVERY_BUDGET_SECONDS: '4',
  TWILIO_TIMEOUT_SECONDS: '1',
  DELIVERY_BACKOFF_MS: '20',
  CHALLENGE_TTL_SECONDS: '30',
  CHALLENGE_MAX_TRIES: String(MAX_TRIES),
  // Vendors fail here more often than a breaker would bear.
  CIRCUIT_BREAKER: 'off',
}

/** Starts everything. `beside` is the checkout that the second replica runs from. Disposing leaves nothing behind. */
export async function startWorld(beside: string = ROOT): Promise<World & AsyncDisposable> {
  await using starting = new AsyncDisposableStack()
  const dir = await mkdtemp(join(tmpdir(), 'signature-router-chaos-'))
  starting.defer(() => rm(dir, { recursive: true, force: true, maxRetries: 3 }))
  const postgres = starting.use(await startReplicatedPostgres(dir))
  const password = randomKey()
  const query = querier(postgres)
  starting.defer(query.end)
  await query.run('postgres', `CREATE ROLE ${ROLE} LOGIN PASSWORD '${password}'`)
  await query.run('postgres', `CREATE DATABASE ${DATABASE} OWNER ${ROLE}`)

  const heard: string[] = []
  const accounts = await createSandboxAccounts()
  const sandbox = starting.use(await startSandbox({ host: '127.0.0.1', port: 0, receipts: 'none', ...accounts }))
  const keys = { CODE_KEYS: `k1:${randomKey()}`, PII_KEYS: `p1:${randomKey()}`, INDEX_KEY: randomKey() }
  const start = async (name: string, root: string) =>
    starting.use(
      await startReplica({
        name,
        root,
        dir,
        env: { ...SETTINGS, ...keys, PUBLIC_WEBHOOK_URL: 'http://127.0.0.1:0' },
        databasePort: postgres.port(),
        databaseUrl: (port) => `postgres://${ROLE}:${encodeURIComponent(password)}@127.0.0.1:${port}/${DATABASE}`,
        vendorPort: sandbox.port,
        vendorSettings: (url) => sandboxSettings(accounts, url),
        onLine(line, replica) {
          heard.push(`${replica}: ${line}`)
          if (heard.length > 20) heard.shift()
          checkLine(world, line, replica)
        },
        onDeath: (replica, how) => violate(world, 'no replica ends by itself', `${replica}: ${how}`),
      }),
    )
  const world: World = {
    postgres,
    // Filled below: they log as soon as they start.
    replicas: [] as unknown as World['replicas'],
    sandbox,
    vendor: noteVendor(sandbox),
    customers: [],
    violations: [],
    kills: new Map(),
    faults: new Map(),
    told: new Map(),
    recent: [],
    maxTries: MAX_TRIES,
    query: (text, values) => query.run(DATABASE, text, values),
  }
  const first = await start('a', ROOT)
  const second = await start('b', beside)
  await Promise.race([
    Promise.all([first.up(), second.up()]),
    sleep(STARTED_WITHIN_MS, undefined, { ref: false }).then(() => {
      throw new Error(`no replica listens; the last that was heard of them:\n${heard.join('\n')}`)
    }),
  ])
  const running = starting.move()
  return Object.assign(world, {
    replicas: [first, second] as const,
    [Symbol.asyncDispose]: () => running.disposeAsync(),
  })
}

const AWAY_MS = 30_000

/** Asks whichever server is the primary, again and again while it is away. */
function querier(postgres: ReplicatedPostgres) {
  const pools = new Map<string, pg.Pool>()
  const poolFor = (url: string) => {
    const known = pools.get(url)
    if (known) return known
    const pool = new pg.Pool({ connectionString: url, max: 4, application_name: 'chaos' })
    pool.on('error', () => {})
    pool.on('connect', (client) => client.on('error', () => {}))
    pools.set(url, pool)
    return pool
  }
  return {
    async run(database: string, text: string, values?: unknown[]): Promise<Record<string, unknown>[]> {
      for (const startedAt = performance.now(); ; await sleep(100)) {
        try {
          const result = await poolFor(postgres.url(database)).query(text, values)
          return [result].flat().at(-1)?.rows ?? []
        } catch (error) {
          const { code = '' } = error as { code?: string }
          const isOurs = /^[0-9A-Z]{5}$/.test(code) && !/^(08|57|25006|40)/.test(code)
          if (isOurs || performance.now() - startedAt > AWAY_MS) {
            throw new Error(`${(error as Error).message} (${code}): ${text}`, { cause: error })
          }
        }
      }
    },
    async end(): Promise<void> {
      await Promise.all([...pools.values()].map((pool) => pool.end()))
    },
  }
}
