import { sql, type Updateable } from 'kysely'
import type { Challenge } from '../domain/challenge.ts'
import type { Attempt, DeliveryOutcome } from '../domain/delivery.ts'
import type { PassedOver } from '../domain/fallback.ts'
import { insertChallenge, type NewChallenge } from './challenges.ts'
import type { Db, Trx } from './database.ts'
import type { Schema } from './schema.ts'
import { endSignature, lockSignature } from './signature-states.ts'
import { appendSkipped, appendTimeline } from './timeline.ts'

/** Where a delivery goes on when it ended without a message sent: to whom, past whom, or nowhere. */
export interface Onward {
  next: NewChallenge | undefined
  /** Those found unusable since the challenge was made. */
  skipped: PassedOver[]
}

/**
 * Records how a delivery ended, with every call it made. What the provider said is kept whatever became of the challenge
 * meanwhile; its status changes only while it is PENDING.
 *
 * A challenge that was not sent makes way for the next one, if there is one: it is FAILED, or CANCELLED when its message
 * may have been sent, in the same transaction that makes the next, so that never two codes are live. `replaced` tells
 * that the next is to be delivered now, `failed` that the signature failed.
 */
export async function recordDelivery(
  db: Db,
  { id, signatureId, provider }: Pick<Challenge, 'id' | 'signatureId' | 'provider'>,
  delivery: DeliveryOutcome,
  { next, skipped }: Onward,
): Promise<'recorded' | 'replaced' | 'failed'> {
  return db.transaction().execute(async (trx) => {
    const state = await lockSignature(trx, signatureId)
    const goesOn = next !== undefined && state === 'live'
    await insertAttempts(trx, id, delivery.attempts)
    const details = { provider, attempts: String(delivery.attempts.length) }

    if (delivery.outcome === 'sent') {
      await trx
        .updateTable('challenge')
        .set({
          status: sql`CASE WHEN status = 'PENDING' THEN 'SENT' ELSE status END`,
          delivery_status: 'ACCEPTED',
          provider_challenge_id: delivery.providerChallengeId,
          provider_proof: JSON.stringify(delivery.providerProof),
          sent_at: delivery.sentAt,
        })
        .where('id', '=', id)
        .execute()
      await appendTimeline(trx, signatureId, 'CHALLENGE_SENT', id, {
        ...details,
        provider_challenge_id: delivery.providerChallengeId,
      })
      return 'recorded'
    }

    if (delivery.outcome === 'unknown') {
      await trx.updateTable('challenge').set({ delivery_status: 'UNKNOWN' }).where('id', '=', id).execute()
      await appendTimeline(trx, signatureId, 'CHALLENGE_OUTCOME_UNKNOWN', id, details)
      if (!goesOn) return 'recorded'
      const triesUsed = await closePending(trx, id, { status: 'CANCELLED' })
      if (triesUsed === undefined) return 'recorded'
      await appendTimeline(trx, signatureId, 'CHALLENGE_CANCELLED', id, { reason: 'OUTCOME_UNKNOWN' })
      await insertChallenge(trx, signatureId, next, { triesUsed, skipped })
      return 'replaced'
    }

    const reason = {
      reason: delivery.reason,
      ...(delivery.providerErrorCode !== null && { provider_error_code: delivery.providerErrorCode }),
    }
    await appendTimeline(trx, signatureId, 'CHALLENGE_FAILED', id, { ...details, ...reason })
    const triesUsed = await closePending(trx, id, {
      status: 'FAILED',
      failure_reason: delivery.reason,
      provider_error_code: delivery.providerErrorCode,
    })
    if (triesUsed === undefined) return 'recorded'
    if (goesOn) {
      await insertChallenge(trx, signatureId, next, { triesUsed, skipped })
      return 'replaced'
    }
    await appendSkipped(trx, signatureId, skipped)
    await endSignature(trx, signatureId, 'FAILED')
    await appendTimeline(trx, signatureId, 'SIGNATURE_FAILED', id, reason)
    return 'failed'
  })
}

async function insertAttempts(trx: Trx, challengeId: string, attempts: Attempt[]): Promise<void> {
  if (attempts.length === 0) return
  await trx
    .insertInto('attempt')
    .values(
      attempts.map((attempt) => ({
        challenge_id: challengeId,
        number: attempt.number,
        outcome: attempt.outcome,
        provider_error_code: attempt.providerErrorCode,
        started_at: attempt.startedAt,
        ended_at: attempt.endedAt,
      })),
    )
    .execute()
}

/** Closes a challenge that is still PENDING, and gives the tries used by then; undefined when it no longer was. */
async function closePending(
  trx: Trx,
  id: string,
  closed: Updateable<Schema['challenge']>,
): Promise<number | undefined> {
  const row = await trx
    .updateTable('challenge')
    .set(closed)
    .where('id', '=', id)
    .where('status', '=', 'PENDING')
    .returning('tries_used')
    .executeTakeFirst()
  return row?.tries_used
}
