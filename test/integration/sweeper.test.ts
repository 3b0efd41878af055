import { randomUUID } from 'node:crypto'
import { sql } from 'kysely'
import { afterAll, beforeAll, beforeEach, expect, inject, test } from 'vitest'
import { type Database, openDatabase } from '../../src/db/database.ts'
import { openSweeper, type SweeperConfig } from '../../src/db/sweeper.ts'
import { createDatabase } from '../support/database.ts'
import { fill } from '../support/fill.ts'

let database: Database
beforeAll(async () => {
  database = openDatabase(await createDatabase(inject('postgresUrl'), randomUUID(), 'migrated'))
})
beforeEach(() => sql`TRUNCATE signature CASCADE`.execute(database.db))
afterAll(() => database[Symbol.asyncDispose]())

const DAY_MS = 86_400_000

/** Sweeps until `count` events were told, and returns them in order. */
async function sweep(count: number): Promise<string[]> {
  const events: string[] = []
  const enough = Promise.withResolvers<void>()
  const tell = (event: string) => {
    events.push(event)
    if (events.length === count) enough.resolve()
  }
  const config: SweeperConfig = {
    retentionMs: DAY_MS,
    onLost: () => tell('lost'),
    onExpired: (expired) => tell(`${expired} expired`),
    onRemoved: (table, removed) => tell(`${removed} removed of ${table}`),
    onReceiptMissing: () => tell('receipt missing'),
    onError: (error) => tell(String(error)),
  }
  await using _sweeper = openSweeper(database.db, config)
  await enough.promise
  return events
}

test('what falls due while a backlog is removed is closed after the batch under way', async () => {
  await fill(database.db, { count: 350, ageMs: 2 * DAY_MS, status: 'SIGNED' })
  await fill(database.db, { count: 1, ageMs: 0, status: 'PENDING' })
  // It falls due as the first of them are removed.
  await sql`
    CREATE FUNCTION fall_due() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
      UPDATE signature SET expires_at = now() WHERE status = 'PENDING';
      RETURN NULL;
    END
    $$
  `.execute(database.db)
  await sql`
    CREATE TRIGGER fall_due AFTER DELETE ON signature FOR EACH STATEMENT EXECUTE FUNCTION fall_due()
  `.execute(database.db)

  expect(await sweep(5)).toEqual([
    '100 removed of signature',
    '1 expired',
    '100 removed of signature',
    '100 removed of signature',
    '50 removed of signature',
  ])
  await sql`DROP FUNCTION fall_due CASCADE`.execute(database.db)
})

test('a sweep that fails keeps no other from its work, and is left out until the next round', async () => {
  await fill(database.db, { count: 250, ageMs: 2 * DAY_MS, status: 'SIGNED' })
  await fill(database.db, { count: 1, ageMs: DAY_MS / 2, status: 'PENDING' })
  await sql`
    ALTER TABLE signature ADD CONSTRAINT nothing_expires CHECK (status <> 'EXPIRED') NOT VALID
  `.execute(database.db)

  expect(await sweep(4)).toEqual([
    expect.stringContaining('nothing_expires'),
    '100 removed of signature',
    '100 removed of signature',
    '50 removed of signature',
  ])
  await sql`ALTER TABLE signature DROP CONSTRAINT nothing_expires`.execute(database.db)
  expect(await sweep(1)).toEqual(['1 expired'])
})
