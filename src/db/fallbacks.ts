import { type RawBuilder, sql } from 'kysely'
import { OPEN, type PassedOver } from '../domain/challenge.ts'
import type { Db, Trx } from './database.ts'
import { isStored, type NewChallenge, replaceChallenge } from './new-challenges.ts'
import { lockSignature } from './signature-states.ts'
import { transact } from './transact.ts'

/** An open challenge that is to be replaced by another one, though no caller asks for it. */
export interface DueFallback {
  challengeId: string
  signatureId: string
  caller: string
}

/** Its message did not arrive, or its process ended before any call that could have sent it. */
export type FallbackReason = 'UNDELIVERED' | 'NOT_SENT'

/** A process makes a fallback that it has taken in much less. After this time it is due again, for any process. */
const TAKEN_FOR = '5 seconds'

/** Set as `fallback_due_at`: taken by this process, and left to the others if it dies. */
export const taken: RawBuilder<Date> = sql<Date>`now() + ${TAKEN_FOR}::interval`

/** Set as `fallback_due_at` of an undelivered message: taken, where its route wants a fallback and its code is open. */
export const takenIfWanted: RawBuilder<Date | null> = sql<Date | null>`
  CASE WHEN status IN ('PENDING', 'SENT') AND routing_table_version IS NOT NULL
    AND (route->>'fallbackOnUndelivered')::boolean THEN ${taken} END
`

/** True of a challenge one of whose calls may have sent its message. */
const mayBeSent: RawBuilder<boolean> = sql<boolean>`
  EXISTS (SELECT FROM attempt WHERE challenge_id = challenge.id
    AND (outcome IS NULL OR outcome IN ('sent', 'unknown', 'unproven')))
`

/** Takes up to `limit` due fallbacks for {@link TAKEN_FOR}, each for one process, however many look. */
export async function takeDueFallbacks(db: Db, limit: number): Promise<DueFallback[]> {
  const rows = await db
    .updateTable('challenge')
    .from('signature')
    .set({
      fallback_due_at: sql<Date | null>`
        CASE WHEN delivery_status = 'UNDELIVERED' OR challenge.status = 'PENDING' AND NOT ${mayBeSent} THEN ${taken} END
      `,
    })
    .whereRef('signature.id', '=', 'signature_id')
    .where('challenge.id', 'in', (eb) =>
      eb
        .selectFrom('challenge')
        // As the index says it.
        .where(sql<boolean>`status IN ('PENDING', 'SENT')`)
        .where('fallback_due_at', '<=', sql<Date>`now()`)
        .orderBy('fallback_due_at')
        .limit(limit)
        .forUpdate()
        .skipLocked()
        .select('id'),
    )
    .returning(['challenge.id as challengeId', 'signature_id as signatureId', 'caller', 'fallback_due_at'])
    .execute()
  return rows
    .filter(({ fallback_due_at }) => fallback_due_at !== null)
    .map(({ challengeId, signatureId, caller }) => ({ challengeId, signatureId, caller }))
}

/** Drops a fallback for which no provider is left. The challenge doesn't change. */
export async function dropFallback(db: Db, { challengeId }: Pick<DueFallback, 'challengeId'>): Promise<void> {
  await db.updateTable('challenge').set({ fallback_due_at: null }).where('id', '=', challengeId).execute()
}

/**
 * Puts a challenge in the place of one whose fallback is due for `reason`. Returns false and writes nothing if it no longer
 * is: it was closed, another process made the fallback, its message was delivered after all, no try is left, or its
 * signature's time is over.
 */
export async function insertFallback(
  db: Db,
  { challengeId, signatureId }: Pick<DueFallback, 'challengeId' | 'signatureId'>,
  reason: FallbackReason,
  onward: { next: NewChallenge; passedOver: PassedOver[] },
): Promise<boolean> {
  return transact(db, async (trx) => {
    if ((await lockSignature(trx, signatureId)) !== 'live') return false
    if (await isStored(trx, onward.next)) return true
    if (!(await isDue(trx, challengeId, reason))) return false
    return replaceChallenge(trx, { id: challengeId, signatureId }, OPEN, reason, onward)
  })
}

async function isDue(trx: Trx, challengeId: string, reason: FallbackReason): Promise<boolean> {
  // Waits for an attempt that is being written, so that the next statement sees it.
  await trx.selectFrom('challenge').where('id', '=', challengeId).forUpdate().select('id').execute()
  const { rows } = await sql`
    SELECT FROM challenge WHERE id = ${challengeId} AND fallback_due_at IS NOT NULL
      AND ${reason === 'UNDELIVERED' ? sql`delivery_status = 'UNDELIVERED'` : sql`status = 'PENDING' AND NOT ${mayBeSent}`}
  `.execute(trx)
  return rows.length > 0
}
