import type { Db } from './database.ts'

/** What operators last said of a provider. */
export interface ProviderSwitch {
  provider: string
  /** Null: it may be used. */
  pausedUntil: Date | null
  author: string
  reason: string
  setAt: Date
}

const COLUMNS = ['provider', 'paused_until as pausedUntil', 'author', 'reason', 'set_at as setAt'] as const

/** What was last said of each provider of which anything was said. */
export async function readProviderSwitches(db: Db): Promise<ProviderSwitch[]> {
  return db
    .selectFrom('provider_switch')
    .distinctOn('provider')
    .orderBy('provider')
    .orderBy('id', 'desc')
    .select(COLUMNS)
    .execute()
}

/** Says something of a provider. What was said before is kept. */
export async function insertProviderSwitch(
  db: Db,
  { provider, pausedUntil, author, reason }: Omit<ProviderSwitch, 'setAt'>,
): Promise<ProviderSwitch> {
  return db
    .insertInto('provider_switch')
    .values({ provider, paused_until: pausedUntil, author, reason })
    .returning(COLUMNS)
    .executeTakeFirstOrThrow()
}
