import { sql } from 'kysely'
import type { Db } from './database.ts'
import { expire } from './signature-states.ts'
import { appendTimeline } from './timeline.ts'
import { transact } from './transact.ts'

/** The most rows that one transaction takes. */
export const BATCH = 100
/** How long an idempotency key stands for its request. */
const KEY_LIFETIME = '24 hours'

/** A challenge whose process died before it recorded the outcome of the delivery. */
export interface LostDelivery {
  challengeId: string
  provider: string
}

/**
 * Ends deliveries whose lease has run out: their outcome is UNKNOWN from then on, and the code stays valid, as it may have
 * arrived. Nothing is sent again. Each is taken by one process, however many look.
 */
export async function takeLostDeliveries(db: Db): Promise<LostDelivery[]> {
  return transact(db, async (trx) => {
    const lost = await trx
      .selectFrom('challenge')
      .innerJoin('signature', 'signature.id', 'challenge.signature_id')
      .where('challenge.status', '=', 'PENDING')
      .where('delivery_status', 'is', null)
      .where('lease_expires_at', '<=', sql<Date>`now()`)
      .orderBy('lease_expires_at')
      .limit(BATCH)
      // By the signature's lock, like every change of a challenge.
      .forUpdate('signature')
      .skipLocked()
      .select('challenge.id')
      .execute()
    if (lost.length === 0) return []
    const taken = await trx
      .updateTable('challenge')
      .set({ delivery_status: 'UNKNOWN' })
      .where(
        'id',
        'in',
        lost.map(({ id }) => id),
      )
      // It may have been recorded before we had the lock.
      .where('status', '=', 'PENDING')
      .where('delivery_status', 'is', null)
      .where('lease_expires_at', '<=', sql<Date>`now()`)
      .returning((eb) => [
        'id as challengeId',
        'signature_id as signatureId',
        'provider',
        eb
          .selectFrom('attempt')
          .whereRef('attempt.challenge_id', '=', 'challenge.id')
          .select(sql<string>`count(*)::text`.as('count'))
          .as('attempts'),
      ])
      .execute()
    for (const { signatureId, challengeId, provider, attempts } of taken) {
      const details = { provider, attempts: attempts ?? '0', reason: 'LEASE_EXPIRED' }
      await appendTimeline(trx, signatureId, 'CHALLENGE_OUTCOME_UNKNOWN', challengeId, details)
    }
    return taken
  })
}

/** Closes signatures whose time is over. Returns their number. Each is closed by one process, however many look. */
export async function expireSignatures(db: Db): Promise<number> {
  return transact(db, async (trx) => {
    const due = await trx
      .selectFrom('signature')
      .where('status', '=', 'PENDING')
      .where('expires_at', '<=', sql<Date>`now()`)
      .orderBy('expires_at')
      .limit(BATCH)
      .forUpdate()
      .skipLocked()
      .select('id')
      .execute()
    for (const { id } of due) await expire(trx, id)
    return due.length
  })
}

/** Removes idempotency keys that are older than a day. Returns their number. */
export async function removeOldKeys(db: Db): Promise<number> {
  const { numAffectedRows } = await sql`
    DELETE FROM idempotency_key WHERE (caller, key) IN (
      SELECT caller, key FROM idempotency_key
      WHERE created_at < now() - ${KEY_LIFETIME}::interval
      ORDER BY created_at LIMIT ${BATCH} FOR UPDATE SKIP LOCKED
    )
  `.execute(db)
  return Number(numAffectedRows ?? 0)
}

/** Removes signatures that ended more than `retentionMs` ago, with everything that belongs to them. Returns their number. */
export async function removeOldSignatures(db: Db, retentionMs: number): Promise<number> {
  const { numAffectedRows } = await sql`
    DELETE FROM signature WHERE id IN (
      SELECT id FROM signature
      WHERE status <> 'PENDING' AND completed_at < now() - ${retentionMs} * interval '1 millisecond'
      ORDER BY completed_at LIMIT ${BATCH} FOR UPDATE SKIP LOCKED
    )
  `.execute(db)
  return Number(numAffectedRows ?? 0)
}
