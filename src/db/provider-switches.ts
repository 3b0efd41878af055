import { sql } from 'kysely'
import type { Db } from './database.ts'
import { countDown, msUntil } from './time-left.ts'

/** What operators have set for a provider. */
export interface ProviderSwitch {
  provider: string
  /** Null: it may be used. */
  pausedUntil: Date | null
  author: string
  reason: string
  setAt: Date
  /** Milliseconds until `pausedUntil` by the database's clock. Not above zero: it may be used. */
  pausedForMs(): number
}

const COLUMNS = [
  'provider',
  'paused_until as pausedUntil',
  'author',
  'reason',
  'set_at as setAt',
  msUntil('paused_until').as('paused_ms'),
] as const

/** Returns the latest switch of every provider that has one. */
export async function readProviderSwitches(db: Db): Promise<ProviderSwitch[]> {
  const askedAt = performance.now()
  const rows = await db
    .selectFrom('provider_switch')
    .distinctOn('provider')
    .orderBy('provider')
    .orderBy('id', 'desc')
    .select(COLUMNS)
    .execute()
  return rows.map((row) => toSwitch(row, askedAt))
}

/**
 * Sets a provider's switch; earlier ones are kept. Returns undefined and writes nothing if `pausedUntil` is over by the
 * database's clock.
 */
export async function insertProviderSwitch(
  db: Db,
  { provider, pausedUntil, author, reason }: Pick<ProviderSwitch, 'provider' | 'pausedUntil' | 'author' | 'reason'>,
): Promise<ProviderSwitch | undefined> {
  const askedAt = performance.now()
  const until = sql<Date | null>`${pausedUntil}::timestamptz`
  const row = await db
    .insertInto('provider_switch')
    .columns(['provider', 'paused_until', 'author', 'reason'])
    .expression(
      db
        .selectNoFrom([
          sql<string>`${provider}::text`.as('provider'),
          until.as('paused_until'),
          sql<string>`${author}::text`.as('author'),
          sql<string>`${reason}::text`.as('reason'),
        ])
        .where(sql<boolean>`coalesce(${until} > clock_timestamp(), true)`),
    )
    .returning(COLUMNS)
    .executeTakeFirst()
  return row && toSwitch(row, askedAt)
}

function toSwitch(
  { paused_ms, ...said }: Omit<ProviderSwitch, 'pausedForMs'> & { paused_ms: number | null },
  askedAt: number,
): ProviderSwitch {
  return { ...said, pausedForMs: countDown(paused_ms ?? 0, askedAt) }
}
