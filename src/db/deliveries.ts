import { sql } from 'kysely'
import type { Challenge, ChallengeFailureReason, DeliveryStatus, PassedOver } from '../domain/challenge.ts'
import type { Attempt, DeliveryOutcome } from '../domain/delivery.ts'
import type { Sealed } from '../domain/sealed.ts'
import type { Db, Trx } from './database.ts'
import { atLeast } from './delivery-status.ts'
import { taken } from './fallbacks.ts'
import { insertChallenge, isStored, type NewChallenge, replaceChallenge } from './new-challenges.ts'
import { endSignature, lockSignature } from './signature-states.ts'
import { appendPassedOver, appendTimeline } from './timeline.ts'
import { transact } from './transact.ts'

/** Where a delivery goes on if no message was sent. */
export interface Onward {
  /** Undefined: nowhere. */
  next: NewChallenge | undefined
  /** Providers found unusable since the challenge was made. */
  passedOver: PassedOver[]
}

/** A challenge whose delivery has just ended. */
export interface DeliveredChallenge extends Pick<Challenge, 'id' | 'signatureId' | 'provider'> {
  /** Its provider was asked for receipts. */
  expectsReceipt: boolean
  /** The provider's answer, if it took the message. */
  exchange: Sealed | undefined
}

/**
 * Writes down that a provider is about to be called. Commits by itself, before the call. Returns false if the call must not
 * be made: the challenge was closed, a receipt said that an earlier call was taken, or the lease has run out and other
 * processes take this one for dead.
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
        // Waits for a transaction that is closing the challenge. If ours comes first, that one sees this attempt.
        .forShare()
        .select(['id', sql<number>`${number}::integer`.as('number'), sql<Date>`${startedAt}::timestamptz`.as('at')]),
    )
    // The same attempt again, when the first answer was lost.
    .onConflict((oc) => oc.columns(['challenge_id', 'number']).doUpdateSet({ started_at: startedAt }))
    .returning('number')
    .executeTakeFirst()
  return begun !== undefined
}

/** How long after the code's expiry a receipt counts as missing. */
const RECEIPT_MARGIN = '1 minute'

/**
 * Records how a delivery ended, with every call it made. The provider's answer is stored even if the challenge was closed
 * meanwhile; its status changes only while it is PENDING.
 *
 * A challenge that was not sent makes way for `next`, if there is one: it becomes FAILED, or CANCELLED if its message may
 * have been sent, in the transaction that writes the next one, so that two codes are never live. Returns `replaced` if
 * `next` is to be delivered now, `failed` if the signature failed.
 */
export async function recordDelivery(
  db: Db,
  { id, signatureId, provider, expectsReceipt, exchange }: DeliveredChallenge,
  delivery: DeliveryOutcome,
  { next, passedOver }: Onward,
): Promise<'recorded' | 'replaced' | 'failed'> {
  return transact(db, async (trx) => {
    const state = await lockSignature(trx, signatureId)
    const goesOn = next !== undefined && state === 'live'
    if (!(await releaseLease(trx, id))) return next && (await isStored(trx, next)) ? 'replaced' : 'recorded'
    await endAttempts(trx, id, delivery.attempts, exchange)
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
          fallback_due_at: sql<Date | null>`CASE WHEN ${isOther} THEN NULL ELSE fallback_due_at END`,
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
      const onward = goesOn && { next, passedOver }
      return onward && (await replaceChallenge(trx, { id, signatureId }, ['PENDING'], 'OUTCOME_UNKNOWN', onward))
        ? 'replaced'
        : 'recorded'
    }

    const { reason, providerErrorCode } = delivery
    const code = providerErrorCode !== null && { provider_error_code: providerErrorCode }
    await appendTimeline(trx, signatureId, 'CHALLENGE_FAILED', id, { ...details, reason, ...code })
    const failed = await trx
      .updateTable('challenge')
      .set({
        status: 'FAILED',
        // With the last try taken, which may not be judged yet, no other code could sign.
        failure_reason: goesOn
          ? sql<ChallengeFailureReason>`CASE WHEN tries_used < max_tries THEN ${reason} ELSE 'TRIES_EXHAUSTED' END`
          : reason,
        provider_error_code: providerErrorCode,
      })
      .where('id', '=', id)
      .where('status', '=', 'PENDING')
      .returning(['failure_reason', 'tries_used', 'max_tries'])
      .executeTakeFirst()
    if (!failed) return 'recorded'
    if (goesOn && failed.failure_reason === reason) {
      await insertChallenge(trx, signatureId, next, passedOver, failed)
      return 'replaced'
    }
    await appendPassedOver(trx, signatureId, passedOver)
    await endSignature(trx, signatureId, 'FAILED')
    await appendTimeline(trx, signatureId, 'SIGNATURE_FAILED', id, { reason: failed.failure_reason ?? reason, ...code })
    return 'failed'
  })
}

/**
 * Abandons a delivery that certainly sent nothing and that no caller waits for: its challenge stays PENDING and due for a
 * fallback. Stores the calls that were made.
 */
export async function leaveDelivery(
  db: Db,
  { id, signatureId }: Pick<Challenge, 'id' | 'signatureId'>,
  attempts: Attempt[],
): Promise<void> {
  await transact(db, async (trx) => {
    await lockSignature(trx, signatureId)
    await endAttempts(trx, id, attempts, undefined)
    await trx
      .updateTable('challenge')
      .set({ lease_expires_at: null, fallback_due_at: taken })
      .where('id', '=', id)
      .where('status', '=', 'PENDING')
      .execute()
  })
}

/** Releases a delivery's lease. Returns false if an earlier run did so, whose commit had no answer. */
async function releaseLease(trx: Trx, id: string): Promise<boolean> {
  const given = await trx
    .updateTable('challenge')
    .set({
      lease_expires_at: null,
      // From now on it is due only if a receipt says so, which may have come before.
      fallback_due_at: sql<Date | null>`CASE WHEN delivery_status = 'UNDELIVERED' THEN fallback_due_at END`,
    })
    .where('id', '=', id)
    .where('lease_expires_at', 'is not', null)
    .returning('id')
    .executeTakeFirst()
  return given !== undefined
}

async function endAttempts(
  trx: Trx,
  challengeId: string,
  attempts: Attempt[],
  exchange: Sealed | undefined,
): Promise<void> {
  for (const { number, outcome, providerErrorCode, startedAt, endedAt } of attempts) {
    await trx
      .updateTable('attempt')
      .set({
        outcome,
        provider_error_code: providerErrorCode,
        started_at: startedAt,
        ended_at: endedAt,
        ...(outcome === 'sent' && { exchange_ciphertext: exchange?.ciphertext, exchange_key_id: exchange?.keyId }),
      })
      .where('challenge_id', '=', challengeId)
      .where('number', '=', number)
      .execute()
  }
}
