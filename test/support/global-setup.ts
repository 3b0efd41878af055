import { randomInt } from 'node:crypto'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import pg from 'pg'
import type { TestProject } from 'vitest/node'
import { openDatabase } from '../../src/db/database.ts'
import { migrate } from '../../src/db/migrations.ts'
import { startEmbeddedPostgres } from '../../src/embedded/embedded-postgres.ts'
import { createSandboxAccounts, type SandboxAccounts } from '../../src/sandbox/sandbox-accounts.ts'
import { createDatabase } from './database.ts'

declare module 'vitest' {
  interface ProvidedContext {
    /** The server's own database; each test file clones {@link TEMPLATE} beside it. */
    postgresUrl: string
    /** Shared by all, as making their keys takes a while. */
    accounts: SandboxAccounts
    /** What all that is drawn at random in this run begins with. */
    seed: number
  }
}

/** What is committed is seen by all as ever; only a crash of the machine could lose it, and no test waits for one. */
async function sparingDisks(url: string): Promise<void> {
  const client = new pg.Client(url)
  await client.connect()
  await client.query('ALTER SYSTEM SET fsync = off')
  await client.query('SELECT pg_reload_conf()')
  await client.end()
}

/** One real PostgreSQL for all test files, with a migrated database to clone. */
export default async function setUp(project: TestProject): Promise<() => Promise<void>> {
  const seed = Number(process.env.SEED ?? randomInt(1_000_000))
  process.stdout.write(`seed ${seed}; to draw the same again: SEED=${seed}\n`)
  project.provide('seed', seed)
  const dataDir = await mkdtemp(join(tmpdir(), 'signature-router-test-'))
  const postgres = await startEmbeddedPostgres({ dataDir })
  await sparingDisks(postgres.url)
  {
    await using template = openDatabase(await createDatabase(postgres.url, 'migrated', 'template0'))
    await migrate(template.db, 'up')
  }
  project.provide('postgresUrl', postgres.url)
  project.provide('accounts', await createSandboxAccounts())
  return async () => {
    await postgres[Symbol.asyncDispose]()
    await rm(dataDir, { recursive: true })
  }
}
