import { setTimeout as sleep } from 'node:timers/promises'
import { sql } from 'kysely'
import type { Database } from './database.ts'

/** Whether this replica can do its work. Disposing ends the regular look at it, not the connection. */
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
  /** Our clock is more than 2 s off the database's, or no longer. */
  onSkewed(isSkewed: boolean, skewMs: number): void
  /** What keeps this replica from being ready is another thing now; undefined: nothing, as at first. */
  onChange(problem: NotReady | undefined, error?: unknown): void
}

/** However many ask, the database is asked this often at most. */
const LEAST_BETWEEN_MS = 500
/** Without anybody asking. */
const LOOK_EVERY_MS = 2_000
/** A caller waits this long at most. */
const ANSWER_WITHIN_MS = 2_000
const SKEW_WARNING_MS = 2_000
const SKEW_REFUSED_MS = 10_000

/** The time that a statement on a connection for {@link openReadiness} may take. */
export const READINESS_TIMEOUT_MS = ANSWER_WITHIN_MS

/** Looks at the database regularly, over `database`, which is for nothing else: a flood of calls must not look like an outage. */
export function openReadiness(
  { db, renew }: Pick<Database, 'db' | 'renew'>,
  clock: () => Date,
  { onSkew, onSkewed, onChange }: ReadinessEvents,
): Readiness {
  const stop = new AbortController()
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
      // Elsewhere there may be one that takes writes by now.
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

  async function lookAndTell(): Promise<void> {
    let error: unknown
    const problem = await look().catch((reason): NotReady => {
      error = reason
      return 'the database does not answer'
    })
    if (problem !== current && !stop.signal.aborted) onChange(problem, error)
    current = problem
    if (problem) throw new Error(problem)
  }

  function check(): Promise<void> {
    if (performance.now() - askedAt < LEAST_BETWEEN_MS) return answer
    askedAt = performance.now()
    answer = lookAndTell()
    // Whoever asks handles it; nobody may.
    answer.catch(() => {})
    return answer
  }

  async function lookOn(): Promise<void> {
    while (!stop.signal.aborted) {
      await check().catch(() => {})
      await sleep(LOOK_EVERY_MS, undefined, { signal: stop.signal, ref: false }).catch(() => {})
    }
  }

  const looking = lookOn()
  return {
    check,
    async [Symbol.asyncDispose]() {
      stop.abort()
      await looking
    },
  }
}

async function within<T>(ms: number, answer: Promise<T>): Promise<T> {
  const { promise: overdue, reject } = Promise.withResolvers<never>()
  const timer = setTimeout(() => reject(new Error('the database does not answer')), ms)
  return Promise.race([answer, overdue]).finally(() => clearTimeout(timer))
}
