import { Socket } from 'node:net'
import { Kysely, PostgresAdapter, PostgresDialect, type RawBuilder, sql, type Transaction } from 'kysely'
import pg from 'pg'
import type { TargetSession } from '../domain/database-url.ts'
import type { Schema } from './schema.ts'
import { createServers } from './servers.ts'
import { openSession, type Pooler, withLocalSettings } from './session.ts'
import { isPasswordRefused, isReadOnlyServer } from './storage-errors.ts'

/** The database, or a transaction on it. */
export type Db = Kysely<Schema>
export type Trx = Transaction<Schema>

/** A pool of connections and the query builder over it. Disposing waits for queries under way. */
export interface Database extends AsyncDisposable {
  db: Db
  /** True while the queue for connections is full. */
  isBusy(): boolean
  /** Connections by what they do now. */
  poolSize(): { total: number; idle: number; waiting: number }
  /** Stops using the connections that are open now, as after a failover. Called internally when a server refuses a write. */
  renew(): void
}

/** Longer than any statement of a call takes unless something is wrong. */
const STATEMENT_TIMEOUT_MS = 10_000
const CONNECT_TIMEOUT_MS = 3_000
/** A server answers within this time after a statement's timeout, unless the network drops everything. */
const SILENCE_MARGIN_MS = 2_000
/** Callers that may wait, for each connection of the pool. */
const WAITING_PER_CONNECTION = 10

export interface PoolConfig {
  /** The most connections; 20 by default. */
  size?: number
  /** 10 s by default; 0 is no limit, neither for statements nor for locks. */
  statementTimeoutMs?: number
  pooler?: Pooler
  /** Called when an idle connection breaks. */
  onConnectionLost?: (error: Error) => void
  /** Called when the server rejects the password. May load the new one; the connection is then retried once. */
  onPasswordRefused?: () => Promise<void>
}

/** Opens a pool. Connects at the first query, to what `url` is or returns then. */
export function openDatabase(url: string | (() => string), config: PoolConfig = {}): Database {
  const { size = 20, statementTimeoutMs = STATEMENT_TIMEOUT_MS, pooler = 'none' } = config
  const { onConnectionLost = () => {}, onPasswordRefused = async () => {} } = config
  const servers = createServers(typeof url === 'string' ? () => url : url)
  let current = new WeakSet<pg.ClientBase>()
  let target: TargetSession = 'any'
  const pool = new pg.Pool({
    application_name: 'signature-router',
    max: size,
    connectionTimeoutMillis: CONNECT_TIMEOUT_MS,
    keepAlive: true,
    stream: () => givingUpSocket(statementTimeoutMs && statementTimeoutMs + SILENCE_MARGIN_MS),
    async onConnect(client) {
      await openSession(client, { target, pooler, statementTimeoutMs })
      current.add(client)
    },
  })
  // Without a listener a broken idle connection takes the process down; the pool itself just opens another.
  pool.on('error', onConnectionLost)
  // A connection that breaks during a query: the query itself rejects.
  pool.on('connect', (client) => client.on('error', () => {}))
  const renew = () => {
    current = new WeakSet()
  }

  async function connectOnce(): Promise<pg.PoolClient> {
    return servers.connect(async (server, wanted) => {
      // Read by the pool for each connection that it makes.
      pool.options.connectionString = server
      target = wanted
      for (;;) {
        const client = await pool.connect()
        if (current.has(client)) return pooler === 'none' ? client : withLocalSettings(client, statementTimeoutMs)
        client.release(true)
      }
    })
  }

  async function connect(): Promise<pg.PoolClient> {
    try {
      return await connectOnce()
    } catch (error) {
      if (!isPasswordRefused(error)) throw error
      await onPasswordRefused()
      return connectOnce()
    }
  }

  const dialect = new PostgresDialect({ pool: { options: pool.options, connect, end: () => pool.end() } })
  const db = new Kysely<Schema>({
    dialect: Object.assign(dialect, { createAdapter: () => adapter }),
    log(event) {
      if (event.level === 'error' && isReadOnlyServer(event.error)) renew()
    },
  })
  return {
    db,
    isBusy: () => pool.waitingCount >= size * WAITING_PER_CONNECTION,
    poolSize: () => ({ total: pool.totalCount, idle: pool.idleCount, waiting: pool.waitingCount }),
    renew,
    [Symbol.asyncDispose]: () => db.destroy(),
  }
}

/** Migrations run in one transaction, which takes its lock itself: a session's lock would stay behind in a pooler. */
const adapter = Object.assign(new PostgresAdapter(), {
  async acquireMigrationLock() {},
  async releaseMigrationLock() {},
})

/** A socket that is destroyed when nothing was sent or heard for `afterMs`; 0 is never. TCP itself would wait a quarter of an hour. */
export function givingUpSocket(afterMs: number): Socket {
  const socket = new Socket()
  return socket.setTimeout(afterMs, () => socket.destroy())
}

/** `ms` milliseconds after the transaction's start. */
export function fromNow(ms: number): RawBuilder<Date> {
  return sql<Date>`now() + ${ms} * interval '1 millisecond'`
}
