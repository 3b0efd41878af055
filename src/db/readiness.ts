import { sql } from 'kysely'
import { startLoop } from '../loop.ts'
import type { Database } from './database.ts'

/** Judges whether this replica can do its work. Disposing ends the regular looks, not the connection. */
export interface Readiness extends AsyncDisposable {
  /** Resolves when the database takes writes and its clock agrees with ours. Rejects otherwise. */
  check(): Promise<void>
}

export type NotReady =
  | 'the database does not answer'
  | 'the database takes no writes'
  | "the clock is more than 10 s off the database's"

export interface ReadinessEvents {
  /** After each look: how far our clock is ahead of the database's. */
  onSkew(skewMs: number): void
  /** Called when our clock begins or ceases to be more than 2 s off the database's. */
  onSkewed(isSkewed: boolean, skewMs: number): void
  /** Called when `problem`, which keeps this replica from being ready, is another than before; undefined is none, as at first. */
  onChange(problem: NotReady | undefined, error?: unknown): void
}

/** The database is asked at most this often, however many ask for readiness. */
const LEAST_BETWEEN_MS = 500
/** The database is asked at least this often. */
const LOOK_EVERY_MS = 2_000
/** A caller waits at most this long. */
const ANSWER_WITHIN_MS = 2_000
const SKEW_WARNING_MS = 2_000
const SKEW_REFUSED_MS = 10_000

/** How long a statement may take on a connection for {@link openReadiness}. */
export const READINESS_TIMEOUT_MS = ANSWER_WITHIN_MS

/** Looks at the database regularly over a pool of its own: a flood of calls must not look like an outage. */
export function openReadiness(
  { db, renew }: Pick<Database, 'db' | 'renew'>,
  clock: () => Date,
  { onSkew, onSkewed, onChange }: ReadinessEvents,
): Readiness {
  let isStopping = false
  let askedAt = Number.NEGATIVE_INFINITY
  let answer = Promise.resolve()
  let current: NotReady | undefined
  let isSkewed = false

  async function look(): Promise<NotReady | undefined> {
    const beganAtMs = clock().getTime()
    const began = performance.now()
    const { rows } = await within(
      ANSWER_WITHIN_MS,
      sql<{ nowMs: number; isReadOnly: boolean }>`
        SELECT extract(epoch FROM clock_timestamp())::float8 * 1000 AS "nowMs",
          current_setting('transaction_read_only') = 'on' AS "isReadOnly"
      `.execute(db),
    )
    const halfWayMs = (performance.now() - began) / 2
    const { nowMs, isReadOnly } = rows[0] ?? { nowMs: Number.NaN, isReadOnly: true }
    if (isReadOnly) {
      // Another server may take writes by now.
      renew()
      return 'the database takes no writes'
    }
    return judge(beganAtMs + halfWayMs - nowMs, halfWayMs)
  }

  /** `doubtMs` is how far off the measurement may be, as the answer may have come back sooner than the question went. */
  function judge(skewMs: number, doubtMs: number): NotReady | undefined {
    onSkew(skewMs)
    const atLeastMs = Math.abs(skewMs) - doubtMs
    if (isSkewed !== atLeastMs > SKEW_WARNING_MS) {
      isSkewed = !isSkewed
      onSkewed(isSkewed, skewMs)
    }
    return atLeastMs > SKEW_REFUSED_MS ? "the clock is more than 10 s off the database's" : undefined
  }

  async function lookAndReport(): Promise<void> {
    let error: unknown
    const problem = await look().catch((reason): NotReady => {
      error = reason
      return 'the database does not answer'
    })
    if (problem !== current && !isStopping) onChange(problem, error)
    current = problem
    if (problem) throw new Error(problem)
  }

  function check(): Promise<void> {
    if (performance.now() - askedAt < LEAST_BETWEEN_MS) return answer
    askedAt = performance.now()
    answer = lookAndReport()
    // Handled by its callers, if there are any.
    answer.catch(() => {})
    return answer
  }

  const looking = startLoop(
    () => check().catch(() => {}),
    () => LOOK_EVERY_MS,
  )
  return {
    check,
    async [Symbol.asyncDispose]() {
      isStopping = true
      await looking[Symbol.asyncDispose]()
    },
  }
}

async function within<T>(ms: number, answer: Promise<T>): Promise<T> {
  const { promise: overdue, reject } = Promise.withResolvers<never>()
  const timer = setTimeout(() => reject(new Error('the database does not answer')), ms)
  return Promise.race([answer, overdue]).finally(() => clearTimeout(timer))
}
