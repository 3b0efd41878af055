import { sql } from 'kysely'
import { OPEN, type PassedOver } from '../domain/challenge.ts'
import type { Db } from './database.ts'
import { type Claim, claimKey, findClaim } from './idempotency-keys.ts'
import { isStored, type NewChallenge, replaceChallenge } from './new-challenges.ts'
import { lockSignature } from './signature-states.ts'
import { transact } from './transact.ts'

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

/** Puts `next` in the place of the open challenge, while a try is left, and claims the key, all or nothing. */
export async function resendChallenge(
  db: Db,
  claim: Claim,
  next: NewChallenge,
  passedOver: PassedOver[],
  { afterMs, limit }: ResendRules,
): Promise<Resent> {
  const { signatureId } = claim
  return transact(db, async (trx): Promise<Resent> => {
    // Two calls with one key for one signature follow each other here; for two signatures, at the insert below.
    const state = await lockSignature(trx, signatureId)
    const claimed = await findClaim(trx, claim)
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

    const replaced = await replaceChallenge(trx, { id: open_id, signatureId }, OPEN, 'RESENT', { next, passedOver })
    if (!replaced) return { outcome: 'no tries' }
    if (!(await claimKey(trx, claim))) throw new KeyTaken()
    return { outcome: 'resent' }
  }).catch((error) => {
    if (error instanceof KeyTaken) return { outcome: 'repeated' }
    throw error
  })
}

/** Rolls everything back: the key was claimed for another signature meanwhile. */
class KeyTaken extends Error {}
