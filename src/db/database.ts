import { promises as fs } from 'node:fs'
import path from 'node:path'
import { pathToFileURL } from 'node:url'
import { Kysely, PostgresDialect, type RawBuilder, sql, type Transaction } from 'kysely'
import { FileMigrationProvider, Migrator } from 'kysely/migration'
import pg from 'pg'
import type { Schema } from './schema.ts'

/** The database, or a transaction on it: whatever a query can run on. */
export type Db = Kysely<Schema>
export type Trx = Transaction<Schema>

/** A pool of connections and the query builder over it. Disposing waits for queries under way. */
export interface Database extends AsyncDisposable {
  db: Db
  /** Connections by what they do now. */
  poolSize(): { total: number; idle: number; waiting: number }
  /** From now on connects with this URL, whose password may be another one. Connections that are open stay. */
  useUrl(url: string): void
}

const MIGRATIONS = path.join(import.meta.dirname, '../../migrations')

/** No statement of a call takes so long unless something is wrong. */
const STATEMENT_TIMEOUT_MS = 10_000

/**
 * Opens a pool; connects at the first query. `onConnectionLost` hears of idle connections that break. A migration wants
 * no timeout (0): it may wait for another process's. A password that the server refuses is tried once more after
 * `onPasswordRefused`, which may have found the one that has taken its place.
 */
export function openDatabase(
  url: string,
  onConnectionLost: (error: Error) => void,
  statementTimeoutMs = STATEMENT_TIMEOUT_MS,
  onPasswordRefused?: () => Promise<void>,
): Database {
  const pool = new pg.Pool({
    connectionString: url,
    application_name: 'signature-router',
    max: 20,
    connectionTimeoutMillis: 3_000,
    statement_timeout: statementTimeoutMs,
    idle_in_transaction_session_timeout: 10_000,
    keepAlive: true,
  })
  // Without a listener a broken idle connection takes the process down; the pool itself just opens another.
  pool.on('error', onConnectionLost)
  // The same for one that breaks in the middle of a query, whose caller is told by the query.
  pool.on('connect', (client) => client.on('error', () => {}))
  async function connect(): Promise<pg.PoolClient> {
    try {
      return await pool.connect()
    } catch (error) {
      if (!onPasswordRefused || !isPasswordRefused(error)) throw error
      await onPasswordRefused()
      return pool.connect()
    }
  }
  const db = new Kysely<Schema>({
    dialect: new PostgresDialect({ pool: { options: pool.options, connect, end: () => pool.end() } }),
  })
  return {
    db,
    poolSize: () => ({ total: pool.totalCount, idle: pool.idleCount, waiting: pool.waitingCount }),
    useUrl(url) {
      // Read by the pool for each connection. A password given beside a connection string has no effect.
      pool.options.connectionString = url
    },
    [Symbol.asyncDispose]: () => db.destroy(),
  }
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
  const { error, results } = direction === 'up' ? await migrator.migrateToLatest() : await migrator.migrateDown()
  if (error) throw error
  return (results ?? []).map(({ migrationName }) => migrationName)
}

/** So many milliseconds after the transaction's start. */
export function fromNow(ms: number): RawBuilder<Date> {
  return sql<Date>`now() + ${ms} * interval '1 millisecond'`
}

/** Whether the database answers. */
export async function ping(db: Db): Promise<void> {
  await sql`SELECT 1`.execute(db)
}

/** https://www.postgresql.org/docs/current/errcodes-appendix.html: connection (08), a standby (25006), our password (28P01), resources (53), operator intervention (57). */
const UNAVAILABLE_SQLSTATE = /^(08|25006|28P01|53|57)/
const UNAVAILABLE_SYSTEM = /^(ECONN|ENOTFOUND|EAI_AGAIN|EPIPE|ETIMEDOUT|EHOSTUNREACH|ENETUNREACH)/
/** pg names these by their text only. */
const UNAVAILABLE_MESSAGE =
  /^(Connection terminated|timeout exceeded when trying to connect|Client has encountered a connection error)/

function isPasswordRefused(error: unknown): boolean {
  return error instanceof Error && 'code' in error && error.code === '28P01'
}

/** Whether an error means that the database is away or can take no more, not that a statement was wrong. */
export function isStorageUnavailable(error: unknown): boolean {
  if (!(error instanceof Error)) return false
  const code = 'code' in error && typeof error.code === 'string' ? error.code : ''
  return UNAVAILABLE_SQLSTATE.test(code) || UNAVAILABLE_SYSTEM.test(code) || UNAVAILABLE_MESSAGE.test(error.message)
}
