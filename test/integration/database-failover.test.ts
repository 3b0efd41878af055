import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { sql } from 'kysely'
import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { type ReplicatedPostgres, startReplicatedPostgres } from '../../chaos/cluster.ts'
import { startWire } from '../../chaos/wire.ts'
import { openDatabase } from '../../src/db/database.ts'
import { migrateDatabase } from '../../src/db/migrations.ts'
import { type App, failure, start, startApp, startRequest, transaction } from '../support/app.ts'
import { createDatabase } from '../support/database.ts'

const PATIENCE_MS = 20_000

let directory: string
let postgres: ReplicatedPostgres
/** The ports of the primary and the standby as they are at first. */
let ports: [number, number]
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'failover-'))
  postgres = await startReplicatedPostgres(directory)
  ports = [postgres.port(), postgres.standbyPort()]
})
afterAll(async () => {
  await postgres[Symbol.asyncDispose]()
  await rm(directory, { recursive: true })
})

/** The database at several ports. */
function urlOf(database: string, addresses: number[], target: string): string {
  const hosts = addresses.map((port) => `127.0.0.1:${port}`).join()
  const url = new URL(postgres.url(database))
  return `postgres://${url.username}:${url.password}@${hosts}/${database}?target_session_attrs=${target}`
}

const readyz = async ({ server }: Pick<App, 'server'>) =>
  (await fetch(`http://127.0.0.1:${server.adminPort}/readyz`)).status

test('of several servers the one that takes writes is used, whichever is named first', async () => {
  await createDatabase(postgres.url('postgres'), 'several', 'template0')
  for (const addresses of [ports, ports.toReversed()]) {
    await migrateDatabase(urlOf('several', addresses, 'read-write'), 'up')
    for (const target of ['read-write', 'primary']) {
      await using database = openDatabase(urlOf('several', addresses, target))
      const { rows } = await sql`SELECT inet_server_port() AS port`.execute(database.db)
      expect(rows).toEqual([{ port: ports[0] }])
    }
  }
  const [primary, standby] = ports
  await using any = openDatabase(urlOf('several', [1, standby, primary], 'any'))
  const { rows } = await sql`SELECT inet_server_port() AS port`.execute(any.db)
  expect(rows).toEqual([{ port: standby }])
})

test('when none takes writes, callers are told that the database is away', async () => {
  const [, standby] = ports
  await using database = openDatabase(urlOf('postgres', [1, standby], 'read-write'))
  await expect(sql`SELECT`.execute(database.db)).rejects.toMatchObject({ code: '25006' })
})

test('a replica follows the primary: to another server of its URL, and past a server that became a standby', async () => {
  await createDatabase(postgres.url('postgres'), 'failover', 'template0')
  await migrateDatabase(postgres.url('failover'), 'up')
  const [first] = ports
  await using app = await startApp({ DATABASE_URL: urlOf('failover', ports, 'read-write') })
  // As an address that is moved to the new primary some time after the failover.
  await using wire = await startWire(first)
  const moved = await app.replica({ DATABASE_URL: postgres.url('failover', wire.port), DATABASE_POOL_SIZE: '1' })
  const { signatureId, code } = await start(app)
  await start(moved)
  expect(await readyz(app)).toBe(200)
  expect(await readyz(moved)).toBe(200)

  await postgres.failOver()
  await vi.waitFor(async () => expect((await start(app)).signatureId).toBeTruthy(), PATIENCE_MS)
  await app.client.completeSignature({ signatureId, code, transaction: transaction() })
  await vi.waitFor(async () => expect(await readyz(app)).toBe(200), PATIENCE_MS)

  await postgres.rebuild()
  expect(postgres.standbyPort()).toBe(first)
  await vi.waitFor(async () => {
    expect(await failure(moved.client.startSignature(startRequest()))).toMatchObject({ reason: 'STORAGE_UNAVAILABLE' })
    expect(moved.logs).toContainEqual(expect.objectContaining({ msg: 'not ready', level: 'warn' }))
    expect(await readyz(moved)).toBe(503)
  }, PATIENCE_MS)

  // What is connected to the standby by then is not cut, only left.
  wire.target = postgres.port()
  await vi.waitFor(async () => {
    await start(moved)
    expect(await readyz(moved)).toBe(200)
  }, PATIENCE_MS)
}, 120_000)
