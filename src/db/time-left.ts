import { type RawBuilder, sql } from 'kysely'

/** Milliseconds until a moment by the database's clock; below zero after it. */
export function msUntil(moment: string): RawBuilder<number> {
  return sql<number>`(extract(epoch FROM ${sql.ref(moment)} - clock_timestamp()) * 1000)::float8`
}

/**
 * Returns a function for what is left now of `ms`, which the database counted at `askedAt` of `performance.now()`. This
 * machine's clock may be minutes off, or be set at any time.
 */
export function countDown(ms: number, askedAt: number): () => number {
  return () => ms - (performance.now() - askedAt)
}
