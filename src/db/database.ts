import { promises as fs } from 'node:fs'
import { Socket } from 'node:net'
import path from 'node:path'
import { pathToFileURL } from 'node:url'
import { Kysely, PostgresDialect, type RawBuilder, sql, type Transaction } from 'kysely'
import { FileMigrationProvider, Migrator } from 'kysely/migration'
import pg from 'pg'
import type { Schema } from './schema.ts'
import { isPasswordRefused } from './storage-errors.ts'

/** The database, or a transaction on it: whatever a query can run on. */
export type Db = Kysely<Schema>
export type Trx = Transaction<Schema>

/** A pool of connections and the query builder over it. Disposing waits for queries under way. */
export interface Database extends AsyncDisposable {
  db: Db
  /** As many callers wait for a connection as may. */
  isBusy(): boolean
  /** Connections by what they do now. */
  poolSize(): { total: number; idle: number; waiting: number }
  /** From now on connects with this URL, whose password may be another one. Connections that are open stay. */
  useUrl(url: string): void
}

const MIGRATIONS = path.join(import.meta.dirname, '../../migrations')

/** No statement of a call takes so long unless something is wrong. */
const STATEMENT_TIMEOUT_MS = 10_000
/** More than PostgreSQL's deadlock_timeout, so that a deadlock is found as one. */
const LOCK_TIMEOUT_MS = 3_000
const CONNECT_TIMEOUT_MS = 3_000
/** The server would have answered by then: the way to it swallows everything. */
const SILENCE_MS = STATEMENT_TIMEOUT_MS + 2_000
/** Callers that may wait, for each connection of the pool. */
const WAITING_PER_CONNECTION = 10

export interface PoolConfig {
  /** The most connections; 20 unless told. */
  size?: number
  /** Hears of idle connections that break. */
  onConnectionLost?: (error: Error) => void
  /** May find the password that has taken the place of the one that the server refuses, which is then tried once more. */
  onPasswordRefused?: () => Promise<void>
}

/** Opens a pool for calls; connects at the first query. */
export function openDatabase(url: string, config: PoolConfig = {}): Database {
  const { size = 20, onConnectionLost = () => {}, onPasswordRefused = async () => {} } = config
  const pool = new pg.Pool({
    connectionString: url,
    application_name: 'signature-router',
    max: size,
    connectionTimeoutMillis: CONNECT_TIMEOUT_MS,
    statement_timeout: STATEMENT_TIMEOUT_MS,
    lock_timeout: LOCK_TIMEOUT_MS,
    idle_in_transaction_session_timeout: STATEMENT_TIMEOUT_MS,
    keepAlive: true,
    stream: () => givingUpSocket(SILENCE_MS),
  })
  // Without a listener a broken idle connection takes the process down; the pool itself just opens another.
  pool.on('error', onConnectionLost)
  async function connect(): Promise<pg.PoolClient> {
    try {
      return await pool.connect()
    } catch (error) {
      if (!isPasswordRefused(error)) throw error
      await onPasswordRefused()
      return pool.connect()
    }
  }
  return {
    ...overPool(pool, connect),
    isBusy: () => pool.waitingCount >= size * WAITING_PER_CONNECTION,
    poolSize: () => ({ total: pool.totalCount, idle: pool.idleCount, waiting: pool.waitingCount }),
    useUrl(url) {
      // Read by the pool for each connection. A password given beside a connection string has no effect.
      pool.options.connectionString = url
    },
  }
}

/** A connection without time limits: a migration may wait for another process's. */
export async function migrateDatabase(url: string, direction: 'up' | 'down'): Promise<string[]> {
  const pool = new pg.Pool({ connectionString: url, application_name: 'signature-router migration', max: 1 })
  pool.on('error', () => {})
  await using database = overPool(pool, () => pool.connect())
  return await migrate(database.db, direction)
}

function overPool(pool: pg.Pool, connect: () => Promise<pg.PoolClient>): Pick<Database, 'db'> & AsyncDisposable {
  // A connection that breaks in the middle of a query: whoever queries is told by the query.
  pool.on('connect', (client) => client.on('error', () => {}))
  const dialect = new PostgresDialect({ pool: { options: pool.options, connect, end: () => pool.end() } })
  const db = new Kysely<Schema>({ dialect })
  return { db, [Symbol.asyncDispose]: () => db.destroy() }
}

/** A socket that is destroyed when nothing was sent or heard for so long. TCP itself would wait a quarter of an hour. */
export function givingUpSocket(afterMs: number): Socket {
  const socket = new Socket()
  return socket.setTimeout(afterMs, () => socket.destroy())
}

/** Brings the schema up to date, or takes the last migration back. Several processes may do so at once: one does, the others wait. */
export async function migrate(db: Db, direction: 'up' | 'down'): Promise<string[]> {
  const migrator = new Migrator({
    db,
    provider: new FileMigrationProvider({
      fs,
      path,
      migrationFolder: MIGRATIONS,
      import: (file) => import(pathToFileURL(file).href),
    }),
  })
  const isCurrent = (await migrator.getMigrations()).every(({ executedAt }) => executedAt)
  // It may be further than this version knows: old and new ones run side by side on the new one's schema.
  if (direction === 'up' && isCurrent) return []
  const { error, results } = direction === 'up' ? await migrator.migrateToLatest() : await migrator.migrateDown()
  if (error) throw error
  return (results ?? []).map(({ migrationName }) => migrationName)
}

/** So many milliseconds after the transaction's start. */
export function fromNow(ms: number): RawBuilder<Date> {
  return sql<Date>`now() + ${ms} * interval '1 millisecond'`
}

/** Throws when the database does not answer within so long. */
export async function ping(db: Db, withinMs: number): Promise<void> {
  const { promise: overdue, reject } = Promise.withResolvers<never>()
  const timer = setTimeout(() => reject(new Error('the database does not answer')), withinMs)
  await Promise.race([sql`SELECT 1`.execute(db), overdue]).finally(() => clearTimeout(timer))
}
