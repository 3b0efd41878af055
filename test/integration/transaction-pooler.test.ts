import { randomUUID } from 'node:crypto'
import { sql } from 'kysely'
import pg from 'pg'
import { describe, expect, inject, test, vi } from 'vitest'
import { openDatabase } from '../../src/db/database.ts'
import { start, startApp, transaction } from '../support/app.ts'
import { createDatabase } from '../support/database.ts'
import { setOddDefaults } from '../support/database-defaults.ts'
import { listeners } from '../support/routing.ts'
import { transactionPoolers } from '../support/transaction-pooler.ts'
import { useWholeService } from '../support/whole-service.ts'

const pooled = { DATABASE_POOLER: 'transaction' }

describe.for(await transactionPoolers())('behind %s in transaction mode', ([, startPooler]) => {
  test('a database of odd defaults is migrated and everything works, watching too', async () => {
    const direct = await createDatabase(inject('postgresUrl'), randomUUID(), 'template0')
    await setOddDefaults(direct)
    await using pooler = await startPooler(direct)
    await using app = await startApp({ DATABASE_URL: pooler.url, ...pooled })
    await useWholeService(app)
    await vi.waitFor(async () => expect(await readyz(app.server.adminPort)).toBe(200))
  })

  test('two replicas sign at the same time, each code once', async () => {
    await using home = await startApp()
    await using pooler = await startPooler(home.env.DATABASE_URL ?? '')
    const env = { ...pooled, DATABASE_URL: pooler.url }
    const replicas = [await home.replica(env), await home.replica(env)] as const
    const started = await Promise.all(Array.from({ length: 20 }, () => start(home)))
    const results = await Promise.allSettled(
      started.flatMap(({ signatureId, code }) =>
        replicas.map(({ client }) => client.completeSignature({ signatureId, code, transaction: transaction() })),
      ),
    )
    expect(results.filter(({ status }) => status === 'fulfilled')).toHaveLength(20)
  })

  test('each statement has its limits, inside of a transaction and outside, and leaves no setting behind', async () => {
    const url = await createDatabase(inject('postgresUrl'), randomUUID(), 'migrated')
    await using pooler = await startPooler(url)
    await using database = openDatabase(pooler.url, { pooler: 'transaction', statementTimeoutMs: 500 })
    const tooLong = { code: '57014' }
    await expect(sql`SELECT pg_sleep(20)`.execute(database.db)).rejects.toMatchObject(tooLong)
    await expect(
      database.db.transaction().execute((trx) => sql`SELECT pg_sleep(20)`.execute(trx)),
    ).rejects.toMatchObject(tooLong)

    // Of the same sessions, as this is the only other client.
    const client = new pg.Client(pooler.url)
    await client.connect()
    const { rows } = await client.query('SHOW statement_timeout').finally(() => client.end())
    expect(rows).toEqual([{ statement_timeout: '0' }])
  })

  test('with a URL to listen at, past the pooler, changes are told as they happen', async () => {
    await using home = await startApp()
    const direct = home.env.DATABASE_URL ?? ''
    await using pooler = await startPooler(direct)
    const env = { ...pooled, DATABASE_URL: pooler.url }
    await home.replica(env)
    expect(await listeners(home)).toHaveLength(1)
    await home.replica({ ...env, DATABASE_LISTEN_URL: direct })
    await vi.waitFor(async () => expect(await listeners(home)).toHaveLength(2), 10_000)
  })
})

async function readyz(port: number): Promise<number> {
  return (await fetch(`http://127.0.0.1:${port}/readyz`)).status
}
