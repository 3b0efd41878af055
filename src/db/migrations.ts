import { promises as fs } from 'node:fs'
import path from 'node:path'
import { pathToFileURL } from 'node:url'
import { sql } from 'kysely'
import { FileMigrationProvider, Migrator } from 'kysely/migration'
import { type Db, openDatabase, type PoolConfig } from './database.ts'

const MIGRATIONS = path.join(import.meta.dirname, '../../migrations')
/** The advisory lock of Kysely's own migrator, which earlier versions use. */
const LOCK = 3853314791062309107n

/** Migrates over a connection of its own, without time limits. Returns the names of the migrations that ran. */
export async function migrateDatabase(
  url: string,
  direction: 'up' | 'down',
  { pooler = 'none' }: Pick<PoolConfig, 'pooler'> = {},
): Promise<string[]> {
  await using database = openDatabase(url, { size: 1, statementTimeoutMs: 0, pooler })
  return await migrate(database.db, direction)
}

/**
 * Brings the schema up to date, or takes the last migration back. Of several processes one does so and the others wait.
 * A schema that is up to date is only read. Throws when the database can't hold our data.
 */
export async function migrate(db: Db, direction: 'up' | 'down'): Promise<string[]> {
  const schema = await ownSchema(db)
  // It may be further than this version knows: old and new ones run side by side on the new one's schema.
  if (direction === 'up' && (await isCurrent(migrator(db, schema)))) return []
  return db.transaction().execute(async (trx) => {
    await sql`SELECT set_config('lock_timeout', '0', true), pg_advisory_xact_lock(${LOCK})`.execute(trx)
    const migrations = migrator(trx, schema)
    const { error, results = [] } =
      direction === 'up' ? await migrations.migrateToLatest() : await migrations.migrateDown()
    if (error) throw error
    return results.map(({ migrationName }) => migrationName)
  })
}

/** The schema that our tables are made in. Other applications may have theirs beside it, with migrations of their own. */
async function ownSchema(db: Db): Promise<string> {
  const { rows } = await sql<{ schema: string | null; encoding: string }>`
    SELECT current_schema() AS schema, current_setting('server_encoding') AS encoding
  `.execute(db)
  const { schema = null, encoding } = rows[0] ?? {}
  if (encoding !== 'UTF8') throw new Error(`DATABASE_URL: the database's encoding is ${encoding}, it must be UTF8`)
  if (schema === null) throw new Error("DATABASE_URL: no schema in the role's search_path exists and may be used")
  return schema
}

async function isCurrent(migrations: Migrator): Promise<boolean> {
  return (await migrations.getMigrations()).every(({ executedAt }) => executedAt)
}

function migrator(db: Db, schema: string): Migrator {
  const provider = new FileMigrationProvider({
    fs,
    path,
    migrationFolder: MIGRATIONS,
    import: (file) => import(pathToFileURL(file).href),
  })
  return new Migrator({ db, provider, migrationTableSchema: schema })
}
