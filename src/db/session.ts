import type { ClientBase, PoolClient } from 'pg'
import type { TargetSession } from '../domain/database-url.ts'
import { readOnlyServer } from './storage-errors.ts'

/**
 * The settings that our statements rely on, whatever defaults database and role have. Left alone: search_path, as it says
 * where our tables are; default_transaction_read_only, with which a database is closed to writers on purpose; and
 * synchronous_commit.
 * https://www.postgresql.org/docs/current/runtime-config-client.html
 */
const RELIED_ON = {
  client_encoding: 'UTF8',
  DateStyle: 'ISO, MDY',
  TimeZone: 'UTC',
  IntervalStyle: 'postgres',
  bytea_output: 'hex',
  extra_float_digits: '1',
  standard_conforming_strings: 'on',
  array_nulls: 'on',
  transform_null_equals: 'off',
  default_transaction_isolation: 'read committed',
  default_transaction_deferrable: 'off',
  idle_session_timeout: '0',
}

/** More than PostgreSQL's deadlock_timeout, so that a deadlock is found as one. */
const LOCK_TIMEOUT_MS = 3_000
/** A server that has taken a connection answers on it within this time. */
const ANSWER_TIMEOUT_MS = 3_000

/** `transaction`: a pooler may hand each transaction to another session. `none`: a connection is one session. */
export type Pooler = 'none' | 'transaction'

/** Statements that set everything for the session, or for the transaction only. `statementTimeoutMs` 0 is no limit at all. */
function settings(scope: 'SESSION' | 'LOCAL', statementTimeoutMs: number): string {
  const limits = {
    statement_timeout: statementTimeoutMs,
    lock_timeout: Math.min(LOCK_TIMEOUT_MS, statementTimeoutMs),
    idle_in_transaction_session_timeout: statementTimeoutMs,
  }
  // The limits first: until then the others are under those of the database.
  const all = Object.entries({ ...limits, ...RELIED_ON })
  return all.map(([name, value]) => `SET ${scope} ${name} = '${value}'`).join('; ')
}

/** Readies a new connection. Throws an error with SQLSTATE 25006 when its server is not what the URL asks for. */
export async function openSession(
  client: ClientBase,
  { target, pooler, statementTimeoutMs }: { target: TargetSession; pooler: Pooler; statementTimeoutMs: number },
): Promise<void> {
  const own = pooler === 'none' ? `${settings('SESSION', statementTimeoutMs)}; ` : ''
  if (!own && target === 'any') return
  const query = {
    text: `${own}SHOW transaction_read_only; SELECT pg_is_in_recovery()`,
    query_timeout: ANSWER_TIMEOUT_MS,
  }
  // Several statements have several results, which the types don't know.
  const answers = [await client.query(query)].flat().flatMap(({ rows }) => rows)
  const { transaction_read_only: readOnly, pg_is_in_recovery: isStandby } = Object.assign({}, ...answers)
  const isRefused = target === 'primary' ? isStandby : target === 'read-write' && readOnly === 'on'
  if (isRefused) throw readOnlyServer()
}

/**
 * A connection through a pooler in transaction mode: every transaction brings its settings along, and a statement outside
 * of one gets one of its own.
 */
export function withLocalSettings(client: PoolClient, statementTimeoutMs: number): PoolClient {
  const begin = `BEGIN ISOLATION LEVEL READ COMMITTED; ${settings('LOCAL', statementTimeoutMs)}`
  let isInTransaction = false

  async function query(text: string, values?: unknown[]): Promise<unknown> {
    if (text === 'begin') {
      isInTransaction = true
      return client.query(begin)
    }
    if (text === 'commit' || text === 'rollback') isInTransaction = false
    else if (!isInTransaction) return alone(text, values)
    return client.query(text, values)
  }

  async function alone(text: string, values?: unknown[]): Promise<unknown> {
    try {
      await client.query(begin)
      const result = await client.query(text, values)
      await client.query('commit')
      return result
    } catch (error) {
      await client.query('rollback').catch(() => {})
      throw error
    }
  }

  return Object.assign(Object.create(client), { query })
}
