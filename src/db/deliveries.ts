import { sql, type Updateable } from 'kysely'
import { type Challenge, type ChallengeStatus, type DeliveryStatus, OPEN } from '../domain/challenge.ts'
import type { Attempt, DeliveryOutcome } from '../domain/delivery.ts'
import type { PassedOver } from '../domain/fallback.ts'
import { insertChallenge, isStored, type NewChallenge } from './challenges.ts'
import type { Db, Trx } from './database.ts'
import { atLeast } from './delivery-status.ts'
import type { Schema } from './schema.ts'
import { endSignature, lockSignature } from './signature-states.ts'
import { appendSkipped, appendTimeline } from './timeline.ts'
import { transact } from './transact.ts'

/** Where a delivery goes on when it ended without a message sent: to whom, past whom, or nowhere. */
export interface Onward {
  next: NewChallenge | undefined
  /** Those found unusable since the challenge was made. */
  skipped: PassedOver[]
}

/** A challenge that was delivered just now. */
export interface DeliveredChallenge extends Pick<Challenge, 'id' | 'signatureId' | 'provider'> {
  /** Its provider was asked to report what becomes of it. */
  expectsReceipt: boolean
}

/**
 * Writes down that a provider is about to be called. Commits by itself, before the call. False when it must not be made:
 * the challenge was closed, a receipt has told that a call before was taken, or the lease has run out and others take this
 * process for dead.
 */
export async function beginAttempt(db: Db, challengeId: string, number: number, startedAt: Date): Promise<boolean> {
  const begun = await db
    .insertInto('attempt')
    .columns(['challenge_id', 'number', 'started_at'])
    .expression((eb) =>
      eb
        .selectFrom('challenge')
        .where('id', '=', challengeId)
        .where('status', '=', 'PENDING')
        .where('lease_expires_at', '>', sql<Date>`clock_timestamp()`)
        .select(['id', sql<number>`${number}::integer`.as('number'), sql<Date>`${startedAt}::timestamptz`.as('at')]),
    )
    // The same, when its answer was lost.
    .onConflict((oc) => oc.columns(['challenge_id', 'number']).doUpdateSet({ started_at: startedAt }))
    .returning('number')
    .executeTakeFirst()
  return begun !== undefined
}

/** A receipt counts as missing so long after the code has expired. */
const RECEIPT_MARGIN = '1 minute'

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
  { id, signatureId, provider, expectsReceipt }: DeliveredChallenge,
  delivery: DeliveryOutcome,
  { next, skipped }: Onward,
): Promise<'recorded' | 'replaced' | 'failed'> {
  return transact(db, async (trx) => {
    const state = await lockSignature(trx, signatureId)
    const goesOn = next !== undefined && state === 'live'
    if (!(await giveLeaseBack(trx, id))) return next && (await isStored(trx, next)) ? 'replaced' : 'recorded'
    await endAttempts(trx, id, delivery.attempts)
    const details = { provider, attempts: String(delivery.attempts.length) }

    if (delivery.outcome === 'sent') {
      const isOther = sql<boolean>`coalesce(provider_challenge_id <> ${delivery.providerChallengeId}, false)`
      await trx
        .updateTable('challenge')
        .set({
          status: sql`CASE WHEN status = 'PENDING' THEN 'SENT' ELSE status END`,
          // What was reported of another message of this challenge, from a call that seemed to have failed, is not of this one.
          delivery_status: sql<DeliveryStatus>`CASE WHEN ${isOther} THEN 'ACCEPTED' ELSE ${atLeast('ACCEPTED')} END`,
          vendor_status: sql<string | null>`CASE WHEN ${isOther} THEN NULL ELSE vendor_status END`,
          delivery_error_code: sql<string | null>`CASE WHEN ${isOther} THEN NULL ELSE delivery_error_code END`,
          delivery_reported_at: sql<Date | null>`CASE WHEN ${isOther} THEN NULL ELSE delivery_reported_at END`,
          provider_challenge_id: delivery.providerChallengeId,
          provider_proof: JSON.stringify(delivery.providerProof),
          sent_at: delivery.sentAt,
          // A receipt that came before this write is one.
          ...(expectsReceipt && {
            receipt_due_at: sql<Date | null>`
              CASE WHEN NOT EXISTS (SELECT FROM receipt WHERE challenge_id = challenge.id)
                THEN expires_at + ${RECEIPT_MARGIN}::interval END
            `,
          }),
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
      await trx
        .updateTable('challenge')
        .set({ delivery_status: atLeast('UNKNOWN') })
        .where('id', '=', id)
        .execute()
      await appendTimeline(trx, signatureId, 'CHALLENGE_OUTCOME_UNKNOWN', id, details)
      if (!goesOn) return 'recorded'
      const triesUsed = await close(trx, id, ['PENDING'], { status: 'CANCELLED' })
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
    const triesUsed = await close(trx, id, ['PENDING'], {
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

/**
 * Puts a challenge in the place of one that is still open, by whose code nobody can sign from then on. False when that one
 * was closed meanwhile, or its signature's time is over; then nothing is written.
 */
export async function replaceChallenge(
  db: Db,
  { id, signatureId }: Pick<Challenge, 'id' | 'signatureId'>,
  reason: 'UNDELIVERED',
  { next, skipped }: { next: NewChallenge; skipped: PassedOver[] },
): Promise<boolean> {
  return transact(db, async (trx) => {
    if ((await lockSignature(trx, signatureId)) !== 'live') return false
    if (await isStored(trx, next)) return true
    const triesUsed = await close(trx, id, OPEN, { status: 'CANCELLED' })
    if (triesUsed === undefined) return false
    await appendTimeline(trx, signatureId, 'CHALLENGE_CANCELLED', id, { reason })
    await insertChallenge(trx, signatureId, next, { triesUsed, skipped })
    return true
  })
}

/** Gives a delivery's lease back. False when that was done before, by a run whose commit had no answer. */
async function giveLeaseBack(trx: Trx, id: string): Promise<boolean> {
  const given = await trx
    .updateTable('challenge')
    .set({ lease_expires_at: null })
    .where('id', '=', id)
    .where('lease_expires_at', 'is not', null)
    .returning('id')
    .executeTakeFirst()
  return given !== undefined
}

async function endAttempts(trx: Trx, challengeId: string, attempts: Attempt[]): Promise<void> {
  for (const { number, outcome, providerErrorCode, startedAt, endedAt } of attempts) {
    await trx
      .updateTable('attempt')
      .set({ outcome, provider_error_code: providerErrorCode, started_at: startedAt, ended_at: endedAt })
      .where('challenge_id', '=', challengeId)
      .where('number', '=', number)
      .execute()
  }
}

/** Closes a challenge that is still in one of these statuses, and gives the tries used by then; undefined when it isn't. */
async function close(
  trx: Trx,
  id: string,
  from: readonly ChallengeStatus[],
  closed: Updateable<Schema['challenge']>,
): Promise<number | undefined> {
  const row = await trx
    .updateTable('challenge')
    .set(closed)
    .where('id', '=', id)
    .where('status', 'in', from)
    .returning('tries_used')
    .executeTakeFirst()
  return row?.tries_used
}
