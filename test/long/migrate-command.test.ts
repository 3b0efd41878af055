import { readdir } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { sql } from 'kysely'
import { afterAll, expect, test } from 'vitest'
import { openDatabase } from '../../src/db/database.ts'
import { startFakeVault } from '../support/fake-vault.ts'
import { killLeftovers, ownDatabase, ROOT, run } from '../support/service-process.ts'

afterAll(killLeftovers)

test.concurrent('migrate brings an empty database up to date, and takes the last migration back and forth', async () => {
  const env = await ownDatabase('template0')
  const migrate = async (...args: string[]) => {
    await using command = run(['migrate', ...args], env)
    return await command.ended
  }
  await using database = openDatabase(env.DATABASE_URL)
  const ran = async () => {
    const { rows } = await sql<{ name: string }>`SELECT name FROM kysely_migration ORDER BY name`.execute(database.db)
    return rows.map(({ name }) => name)
  }
  const names = (await readdir(join(ROOT, 'migrations'))).map((file) => basename(file, '.ts')).toSorted()
  const last = names.at(-1)
  const done = (stdout: string) => ({ code: 0, signal: null, stdout: `${stdout}\n`, stderr: '' })

  expect(await migrate()).toEqual(done(names.join('\n')))
  expect(await ran()).toEqual(names)
  expect(await migrate('up')).toEqual(done('nothing to migrate'))
  expect(await migrate('down')).toEqual(done(`${last}`))
  expect(await ran()).toEqual(names.slice(0, -1))
  expect(await migrate()).toEqual(done(`${last}`))
}, 120_000)

test.concurrent('in production migrate asks for the URL of the database alone', async () => {
  const { DATABASE_URL } = await ownDatabase('template0')
  await using missing = run(['migrate'], { NODE_ENV: 'production' })
  const { stderr } = await missing.ended
  expect(stderr).toBe('DATABASE_URL: is required with NODE_ENV=production; set DATABASE_URL or DATABASE_URL_FILE\n')

  await using command = run(['migrate'], { NODE_ENV: 'production', DATABASE_URL })
  expect(await command.ended).toMatchObject({ code: 0, stderr: '', stdout: expect.stringContaining('0001') })

  await using vault = await startFakeVault()
  vault.secrets.set('signature-router/database', { url: DATABASE_URL })
  const env = { NODE_ENV: 'production', SECRETS_SOURCE: 'vault', VAULT_ADDR: vault.url, VAULT_TOKEN: vault.token }
  await using fromVault = run(['migrate'], env)
  expect(await fromVault.ended).toMatchObject({ code: 0, stdout: 'nothing to migrate\n' })
  const read = vault.requests.map(({ path }) => path).filter((path) => path.startsWith('/v1/secret/'))
  expect(read).toEqual(['/v1/secret/data/signature-router/database'])
}, 120_000)

test.concurrent.for(['migrate sideways', 'serve'])('"%s" is answered with the usage', async (line) => {
  await using command = run(line.split(' '), {})
  const { code, stdout, stderr } = await command.ended
  expect({ code, stdout }).toEqual({ code: 1, stdout: '' })
  expect(stderr).toMatch(/^usage: main\.ts .*\n +main\.ts migrate \[up\|down\]\n$/)
})
