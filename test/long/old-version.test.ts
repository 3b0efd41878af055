import { execFile } from 'node:child_process'
import { mkdtemp, readdir, rm, symlink } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { sql } from 'kysely'
import { afterAll, expect, inject, test, vi } from 'vitest'
import { openDatabase } from '../../src/db/database.ts'
import { startSandbox } from '../../src/sandbox/sandbox.ts'
import { sandboxSettings } from '../../src/sandbox/sandbox-accounts.ts'
import { startLoad } from '../support/rolling-restart.ts'
import { killLeftovers, ownDatabase, ROOT, serve } from '../support/service-process.ts'

const MIGRATIONS = (await readdir(join(ROOT, 'migrations'))).toSorted()
const before = await versionBefore(MIGRATIONS.at(-1) ?? '')
if (!before) {
  process.stderr.write(
    'old-version.test.ts is SKIPPED: this checkout has no history to take the version before from.\n',
  )
}

afterAll(killLeftovers)

/** Returns the commit before the one that added a migration, or undefined in a shallow clone and outside of a repository. */
async function versionBefore(migration: string): Promise<string | undefined> {
  const git = async (...args: string[]) => (await promisify(execFile)('git', args, { cwd: ROOT })).stdout.trim()
  const isWhole = await git('rev-parse', '--is-shallow-repository').then(
    (shallow) => shallow === 'false',
    () => false,
  )
  if (!isWhole) return undefined
  const parents = await git('log', '--diff-filter=A', '--format=%P', '--', `migrations/${migration}`)
  // A migration that is not committed yet came after all that is.
  return parents.split('\n').at(-1) || 'HEAD'
}

/** A checkout of that commit, with what is installed here. */
async function checkOut(commit: string) {
  const dir = await mkdtemp(join(tmpdir(), 'signature-router-before-'))
  await promisify(execFile)('sh', ['-c', `git archive ${commit} | tar -x -C ${dir}`], { cwd: ROOT })
  await symlink(join(ROOT, 'node_modules'), join(dir, 'node_modules'))
  return { dir, [Symbol.asyncDispose]: () => rm(dir, { recursive: true }) }
}

test.skipIf(!before)(
  'the version before the last migration serves beside this one on its schema, and is replaced under load',
  async () => {
    await using old = await checkOut(before ?? '')
    const accounts = inject('accounts')
    await using sandbox = await startSandbox({ host: '127.0.0.1', port: 0, receipts: 'none', ...accounts })
    const own = await ownDatabase('template0')
    const env = { ...own, ...sandboxSettings(accounts, sandbox.url) }
    const stop = new AbortController()
    await using database = openDatabase(own.DATABASE_URL)
    const migrated = async () => {
      const { rows } = await sql<{ name: string }>`SELECT name FROM kysely_migration ORDER BY name`.execute(database.db)
      return rows.map(({ name }) => `${name}.ts`)
    }

    const first = await serve(env, old.dir)
    expect(await migrated()).toEqual(MIGRATIONS.slice(0, -1))
    const { listening } = first
    const second = await serve(env)
    expect(await migrated()).toEqual(MIGRATIONS)
    const { load, ended, found } = startLoad([first.grpcUrl, second.grpcUrl], sandbox, 4, stop.signal)
    await vi.waitFor(() => expect(load.signed.size).toBeGreaterThan(100), 30_000)

    first.child.kill('SIGTERM')
    expect(await first.ended).toMatchObject({ code: 0 })
    const ports = { GRPC_PORT: String(listening.grpc_port), HTTP_PORT: String(listening.http_port) }
    const replaced = await serve({ ...env, ...ports })
    await found(0)
    stop.abort()
    await ended
    for (const replica of [second, replaced]) await replica[Symbol.asyncDispose]()

    expect(load.failures).toEqual([])
    const { rows } = await sql<{ status: string; count: number }>`
      SELECT signature.status, count(*)::int AS count FROM signature GROUP BY status
    `.execute(database.db)
    expect(rows).toContainEqual({ status: 'SIGNED', count: load.signed.size })
    const sent = await database.db
      .selectFrom('challenge')
      .where('status', 'in', ['SENT', 'COMPLETED'])
      .select('id')
      .execute()
    expect(sent).toHaveLength(load.sent.size)
    expect(first.output.stdout).not.toMatch(/"level":"(error|fatal)"/)
  },
  90_000,
)
