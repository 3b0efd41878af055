import { type KeyCheck, type KeyProblems, type KeyPurpose, type Keys, keyChecks } from '../domain/keys.ts'
import { openDatabase, type PoolConfig } from './database.ts'

/**
 * Compares keys with those that other replicas have under the same ids, and enters those that the database doesn't know.
 * Returns what is wrong. Uses a connection of its own, as the one for calls may not have the new password yet.
 */
export async function compareKeys(
  url: string,
  keys: Keys,
  { pooler = 'none' }: Pick<PoolConfig, 'pooler'>,
): Promise<KeyProblems> {
  await using database = openDatabase(url, { size: 1, pooler })
  // In one order, or two replicas that enter the same keys in different ones wait for each other.
  const checks = keyChecks(keys).toSorted((a, b) => (a.keyId < b.keyId ? -1 : 1))
  await database.db
    .insertInto('key_check')
    .values(checks.map(({ purpose, keyId, value }) => ({ purpose, key_id: keyId, value })))
    .onConflict((conflict) => conflict.doNothing())
    .execute()
  // A statement of its own: it sees what another replica entered while ours waited for it.
  const known = await database.db.selectFrom('key_check').select(['purpose', 'key_id', 'value']).execute()
  const others = checks.filter(({ purpose, keyId, value }) =>
    known.some((row) => row.purpose === purpose && row.key_id === keyId && !row.value.equals(value)),
  )
  return Object.fromEntries(others.map((check) => [check.purpose, problem(check)]))
}

/** For keys that can't be compared now. */
export const NOT_COMPARED: KeyProblems = Object.fromEntries(
  (['CODE_KEYS', 'PII_KEYS'] satisfies KeyPurpose[]).map((purpose) => [
    purpose,
    `${purpose}: can't be compared with the keys of other replicas, as the database is away; the old ones stay`,
  ]),
)

function problem({ purpose, keyId }: KeyCheck): string {
  return purpose === 'INDEX_KEY'
    ? 'INDEX_KEY: other replicas of this database have another one'
    : `${purpose}: other replicas of this database have another key under the id ${keyId}; a new key needs a new id`
}
