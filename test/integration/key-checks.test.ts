import { sql } from 'kysely'
import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { type App, randomKey, start, startApp, transaction } from '../support/app.ts'
import { linesOf, readsThat } from '../support/rotation.ts'
import { secretFiles, secretsOf } from '../support/secret-places.ts'

let app: App
beforeAll(async () => {
  app = await startApp()
})
afterAll(() => app[Symbol.asyncDispose]())

/** The checks in the database, by setting and id. */
async function checks(): Promise<Map<string, Buffer>> {
  const { rows } = await sql<{ name: string; value: Buffer }>`
    SELECT concat_ws(' ', purpose, nullif(key_id, '')) AS name, value FROM key_check ORDER BY 1
  `.execute(app.db)
  return new Map(rows.map(({ name, value }) => [name, value]))
}

test('the first replica enters a check of each of its keys, which is not the key, and no other one changes it', async () => {
  const before = await checks()
  expect([...before.keys()]).toEqual(['CODE_KEYS k1', 'INDEX_KEY', 'PII_KEYS p1'])
  const keys = [app.env.CODE_KEYS, app.env.PII_KEYS, app.env.INDEX_KEY].map((text = '') => text.replace(/^.*:/, ''))
  for (const value of before.values()) {
    expect(value).toHaveLength(32)
    expect(keys).not.toContain(value.toString('base64'))
  }
  expect(new Set([...before.values()].map(String)).size).toBe(3)
  await app.replica()
  expect(await checks()).toEqual(before)
})

test('one key for two purposes or under two ids has the check of each', async () => {
  const [key, index] = [randomKey(), randomKey()]
  await using own = await startApp({ CODE_KEYS: `a:${key},b:${key}`, PII_KEYS: `a:${key}`, INDEX_KEY: index })
  const { rows } = await sql`SELECT purpose, key_id FROM key_check`.execute(own.db)
  expect(rows).toHaveLength(4)
})

test.for([
  ['CODE_KEYS', `k1:${randomKey()}`, 'CODE_KEYS: other replicas of this database have another key under the id k1'],
  ['PII_KEYS', `p1:${randomKey()}`, 'PII_KEYS: other replicas of this database have another key under the id p1'],
  ['CODE_KEYS', `k9:${randomKey()},k1:${randomKey()}`, 'another key under the id k1'],
  ['INDEX_KEY', randomKey(), 'INDEX_KEY: other replicas of this database have another one'],
] as const)('a replica with another %s does not start, and says which (%#)', async ([name, value, line]) => {
  const error = await app.replica({ [name]: value }).catch((reason: Error) => reason)
  expect(error).toBeInstanceOf(Error)
  expect(String(error)).toContain(line)
  expect(String(error)).not.toContain(value)
})

test('of replicas that start at once on a new database with different keys, those with the same ones start', async () => {
  await sql`DELETE FROM key_check`.execute(app.db)
  const another = { CODE_KEYS: `k1:${randomKey()}`, PII_KEYS: `p1:${randomKey()}`, INDEX_KEY: randomKey() }
  const starts = await Promise.allSettled([{}, another, {}, another].map((env) => app.replica(env)))
  const outcomes = starts.map(({ status }) => status)
  expect([outcomes[0], outcomes[1]].toSorted()).toEqual(['fulfilled', 'rejected'])
  expect(outcomes.slice(2)).toEqual(outcomes.slice(0, 2))
  await sql`DELETE FROM key_check`.execute(app.db)
})

test('a running replica goes on with its keys when it reads one that is another elsewhere, and takes over the right one', async () => {
  await using place = await secretFiles(secretsOf(app.env))
  const replica = await app.replica({ ...place.env, SECRETS_REFRESH_SECONDS: '1' })
  const [right, wrong] = [randomKey(), randomKey()]
  await app.replica({ CODE_KEYS: `${app.env.CODE_KEYS},k2:${right}` })

  await place.put({ CODE_KEYS: `k2:${wrong},${app.env.CODE_KEYS}`, PII_KEYS: `p2:${randomKey()},${app.env.PII_KEYS}` })
  await vi.waitFor(async () => expect(await readsThat(replica, 'refused')).toBeGreaterThanOrEqual(2), 20_000)
  const refused = linesOf(replica, 'changed secrets not taken over')
  expect(refused).toMatchObject([{ level: 'warn', problems: [expect.stringMatching(/^CODE_KEYS: .* k2;/)] }])
  expect(linesOf(replica, 'secrets changed')).toMatchObject([{ secrets: ['PII_KEYS'], pii_key_id: 'p2' }])
  const { signatureId, code } = await start(replica)
  await replica.client.completeSignature({ signatureId, code, transaction: transaction() })

  await place.put({ CODE_KEYS: `k2:${right},${app.env.CODE_KEYS}` })
  await vi.waitFor(() => expect(linesOf(replica, 'secrets changed')).toHaveLength(2), 20_000)
  expect(JSON.stringify(replica.logs)).not.toContain(wrong)
})
