import { randomUUID } from 'node:crypto'
import { sql } from 'kysely'
import pg from 'pg'
import { expect, inject, test } from 'vitest'
import { openDatabase } from '../../src/db/database.ts'
import { migrateDatabase } from '../../src/db/migrations.ts'
import { startApp } from '../support/app.ts'
import { createDatabase } from '../support/database.ts'
import { setOddDefaults } from '../support/database-defaults.ts'
import { useWholeService } from '../support/whole-service.ts'

test("whatever a database's own defaults are, it is migrated and everything works", async () => {
  const DATABASE_URL = await createDatabase(inject('postgresUrl'), randomUUID(), 'template0')
  await setOddDefaults(DATABASE_URL)
  await using app = await startApp({ DATABASE_URL })
  await useWholeService(app)

  const { rows } = await sql<Record<string, string>>`
    SELECT current_setting('statement_timeout') AS statement, current_setting('lock_timeout') AS lock,
      current_setting('idle_in_transaction_session_timeout') AS idle, current_setting('idle_session_timeout') AS session,
      current_setting('client_encoding') AS encoding, pg_sleep(0.3)
  `.execute(app.db)
  expect(rows).toMatchObject([{ statement: '10s', lock: '3s', idle: '10s', session: '0', encoding: 'UTF8' }])
})

test('what a bank sets on purpose stays: where our tables are, how commits are made safe, and that nobody writes', async () => {
  const url = await createDatabase(inject('postgresUrl'), randomUUID(), 'template0')
  const name = new URL(url).pathname.slice(1)
  await query(
    url,
    `CREATE SCHEMA ours; ALTER DATABASE "${name}" SET search_path = ours;
     ALTER DATABASE "${name}" SET synchronous_commit = remote_apply`,
  )
  await migrateDatabase(url, 'up')
  await query(url, `ALTER DATABASE "${name}" SET default_transaction_read_only = on`)
  await using database = openDatabase(url)
  const { rows } = await sql`
    SELECT to_regclass('ours.signature') IS NOT NULL AS "isOurs", current_setting('synchronous_commit') AS commit,
      current_setting('transaction_read_only') AS "readOnly"
  `.execute(database.db)
  expect(rows).toEqual([{ isOurs: true, commit: 'remote_apply', readOnly: 'on' }])
})

test.for(['SQL_ASCII', 'LATIN1'])('a database in %s is refused, by name', async (encoding) => {
  const server = inject('postgresUrl')
  const name = randomUUID()
  await query(server, `CREATE DATABASE "${name}" TEMPLATE template0 ENCODING '${encoding}' LOCALE 'C'`)
  const url = Object.assign(new URL(server), { pathname: `/${name}` }).href
  const line = `DATABASE_URL: the database's encoding is ${encoding}, it must be UTF8`
  await expect(migrateDatabase(url, 'up')).rejects.toThrow(line)
  await expect(startApp({ DATABASE_URL: url })).rejects.toThrow(line)
})

async function query(url: string, text: string): Promise<void> {
  const client = new pg.Client(url)
  await client.connect()
  await client.query(text).finally(() => client.end())
}
