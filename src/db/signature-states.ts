import { sql } from 'kysely'
import { OPEN } from '../domain/challenge.ts'
import type { SignatureStatus } from '../domain/signature.ts'
import type { Db, Trx } from './database.ts'
import { appendTimeline, isOnTimeline } from './timeline.ts'
import { transact } from './transact.ts'

/**
 * Signs by a try if its challenge is still open and live by the database's clock. Returns false if it isn't: another call
 * was first, or time ran out.
 */
export async function signSignature(
  db: Db,
  signatureId: string,
  { challengeId, number }: { challengeId: string; number: number },
): Promise<boolean> {
  return transact(db, async (trx) => {
    await lockSignature(trx, signatureId)
    const completed = await trx
      .updateTable('challenge')
      .set({ status: 'COMPLETED' })
      .where('id', '=', challengeId)
      .where('status', 'in', OPEN)
      .where('expires_at', '>', sql<Date>`clock_timestamp()`)
      .returning('id')
      .executeTakeFirst()
    const event = { type: 'SIGNATURE_SIGNED', challengeId, details: { try: String(number) } } as const
    // This very try may have signed in a run before, whose commit had no answer.
    if (!completed) return isOnTimeline(trx, signatureId, event)
    await endSignature(trx, signatureId, 'SIGNED')
    await appendTimeline(trx, signatureId, event.type, challengeId, event.details)
    return true
  })
}

/** Aborts a signature that is still PENDING and not due. Returns false if it isn't. */
export async function abortSignature(db: Db, signatureId: string, reason: string): Promise<boolean> {
  return transact(db, async (trx) => {
    if ((await lockSignature(trx, signatureId)) !== 'live') return false
    await closeChallenge(trx, signatureId, 'CANCELLED')
    await endSignature(trx, signatureId, 'ABORTED')
    await appendTimeline(trx, signatureId, 'SIGNATURE_ABORTED', null, { reason })
    return true
  })
}

/** Closes a signature whose time is over by the database's clock. Returns false if it isn't, or it was closed before. */
export async function expireSignature(db: Db, signatureId: string): Promise<boolean> {
  return transact(db, async (trx) => {
    if ((await lockSignature(trx, signatureId)) !== 'due') return false
    await expire(trx, signatureId)
    return true
  })
}

/** Closes a locked signature that is due. */
export async function expire(trx: Trx, signatureId: string): Promise<void> {
  await closeChallenge(trx, signatureId, 'EXPIRED')
  await endSignature(trx, signatureId, 'EXPIRED')
  await appendTimeline(trx, signatureId, 'SIGNATURE_EXPIRED', null)
}

/**
 * Locks a signature's row until the transaction ends and returns its state. Every change of a signature or its challenges
 * takes this lock first, so that changes follow one another and can't deadlock.
 */
export async function lockSignature(trx: Trx, id: string): Promise<'live' | 'due' | 'final'> {
  const { state } = await trx
    .selectFrom('signature')
    .where('id', '=', id)
    .forUpdate()
    .select(
      sql<'live' | 'due' | 'final'>`
        CASE WHEN status <> 'PENDING' THEN 'final' WHEN expires_at <= clock_timestamp() THEN 'due' ELSE 'live' END
      `.as('state'),
    )
    .executeTakeFirstOrThrow()
  return state
}

/** Waits for the transactions that are changing the signature right now. */
export async function settleSignature(db: Db, id: string): Promise<void> {
  await transact(db, (trx) => lockSignature(trx, id))
}

/** Sets the final status of a locked, PENDING signature. */
export async function endSignature(trx: Trx, id: string, status: Exclude<SignatureStatus, 'PENDING'>): Promise<void> {
  await trx
    .updateTable('signature')
    .set({ status, completed_at: sql`clock_timestamp()` })
    .where('id', '=', id)
    .where('status', '=', 'PENDING')
    .returning('id')
    .executeTakeFirstOrThrow()
}

async function closeChallenge(trx: Trx, signatureId: string, status: 'CANCELLED' | 'EXPIRED'): Promise<void> {
  await trx
    .updateTable('challenge')
    .set({ status })
    .where('signature_id', '=', signatureId)
    .where('status', 'in', OPEN)
    .execute()
}
