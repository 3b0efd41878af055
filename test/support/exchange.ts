import { unseal } from '../../src/domain/sealed.ts'
import type { App } from './app.ts'

/** What is kept of the exchanges of a challenge's calls, opened; null where nothing is. */
export async function exchangesOf({ db, env }: Pick<App, 'db' | 'env'>, challengeId: string): Promise<unknown[]> {
  const rows = await db
    .selectFrom('attempt')
    .selectAll()
    .where('challenge_id', '=', challengeId)
    .orderBy('number')
    .execute()
  const [id = '', key = ''] = (env.PII_KEYS ?? '').split(':')
  const keys = { currentId: id, byId: new Map([[id, Buffer.from(key, 'base64')]]) }
  return rows.map(({ number, exchange_ciphertext: ciphertext, exchange_key_id: keyId }) =>
    ciphertext && keyId !== null
      ? JSON.parse(unseal(keys, { keyId, ciphertext }, `${challengeId}/${number}/exchange`))
      : null,
  )
}
