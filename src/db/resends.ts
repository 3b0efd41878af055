import { sql } from 'kysely'
import { OPEN, type PassedOver } from '../domain/challenge.ts'
import type { Db } from './database.ts'
import { isStored, type NewChallenge, replaceChallenge } from './new-challenges.ts'
import { lockSignature } from './signature-states.ts'
import { transact } from './transact.ts'

/** Whose key a resend claims, and for which request. */
export interface ResendClaim {
  caller: string
  idempotencyKey: string
  fingerprint: Buffer
  signatureId: string
}

export interface ResendRules {
  /** The least time since the last challenge was made. */
  afterMs: number
  /** The most resends of one signature. */
  limit: number
}

export type Resent =
  | { outcome: 'resent' }
  /** The key was claimed before. */
  | { outcome: 'repeated' }
  /** The signature isn't open any more. */
  | { outcome: 'closed' }
  | { outcome: 'too soon'; waitMs: number }
  | { outcome: 'limit' }
  /** Every try was taken, though the last may not be judged yet. */
  | { outcome: 'no tries' }

/** Puts a new challenge in the place of the open one, while a try is left, and claims the key, all or nothing. */
export async function resendChallenge(
  db: Db,
  { caller, idempotencyKey, fingerprint, signatureId }: ResendClaim,
  next: NewChallenge,
  skipped: PassedOver[],
  { afterMs, limit }: ResendRules,
): Promise<Resent> {
  return transact(db, async (trx): Promise<Resent> => {
    // Two calls with one key for one signature follow each other here; for two signatures, at the insert below.
    const state = await lockSignature(trx, signatureId)
    const claimed = await trx
      .selectFrom('idempotency_key')
      .where('caller', '=', caller)
      .where('key', '=', idempotencyKey)
      .select('signature_id')
      .executeTakeFirst()
    if (claimed) return { outcome: (await isStored(trx, next)) ? 'resent' : 'repeated' }
    if (state !== 'live') return { outcome: 'closed' }

    const { resends, wait_ms, open_id } = await trx
      .selectFrom('challenge')
      .where('signature_id', '=', signatureId)
      .select((eb) => [
        eb.fn.countAll<string>().filterWhere('choice', '=', 'RESENT').as('resends'),
        sql<number>`
          ${afterMs} - extract(epoch FROM clock_timestamp() - max(created_at)) * 1000
        `.as('wait_ms'),
        sql<string>`(array_agg(id) FILTER (WHERE status = ANY (${sql.val(OPEN)})))[1]`.as('open_id'),
      ])
      .executeTakeFirstOrThrow()
    if (Number(resends) >= limit) return { outcome: 'limit' }
    if (Number(wait_ms) > 0) return { outcome: 'too soon', waitMs: Math.ceil(Number(wait_ms)) }

    const replaced = await replaceChallenge(trx, { id: open_id, signatureId }, OPEN, 'RESENT', { next, skipped })
    if (!replaced) return { outcome: 'no tries' }
    const claim = await trx
      .insertInto('idempotency_key')
      .values({ caller, key: idempotencyKey, fingerprint, signature_id: signatureId })
      .onConflict((oc) => oc.columns(['caller', 'key']).doNothing())
      .returning('key')
      .executeTakeFirst()
    if (!claim) throw new KeyTaken()
    return { outcome: 'resent' }
  }).catch((error) => {
    if (error instanceof KeyTaken) return { outcome: 'repeated' }
    throw error
  })
}

/** Takes everything back: the key was claimed for another signature meanwhile. */
class KeyTaken extends Error {}
