import { sql } from 'kysely'
import { type Challenge, type DeliveryStatus, OPEN } from '../domain/challenge.ts'
import type { DeliveryOutcome } from '../domain/delivery.ts'
import type { SealedCode } from '../domain/one-time-code.ts'
import type { Db } from './database.ts'
import { endSignature, lockSignature } from './signature-states.ts'
import { appendTimeline } from './timeline.ts'

/** A challenge as it is stored, with what use cases judge it by. */
export interface StoredChallenge extends Challenge {
  /** A process is delivering it right now. */
  beingDelivered: boolean
  /** Still open, but its signature's time is over by the database's clock. */
  due: boolean
}

/** A try taken from a challenge: what is needed to judge the code, and what is left. */
export interface Try {
  challengeId: string
  code: SealedCode
  /** 1 for the first. */
  number: number
  triesRemaining: number
  /** The challenge had not expired, by the database's clock. */
  live: boolean
}

/** The challenge of that id, when its signature is this caller's. */
export async function findChallenge(db: Db, caller: string, id: string): Promise<StoredChallenge | undefined> {
  const row = await db
    .selectFrom('challenge')
    .innerJoin('signature', 'signature.id', 'challenge.signature_id')
    .where('challenge.id', '=', id)
    .where('signature.caller', '=', caller)
    .selectAll('challenge')
    .select([
      'signature.phone_masked',
      // Once the lease has run out without a word, nobody knows what became of the call.
      sql<DeliveryStatus | null>`
        CASE WHEN delivery_status IS NULL AND challenge.status = 'PENDING' AND lease_expires_at <= clock_timestamp()
          THEN 'UNKNOWN' ELSE delivery_status END
      `.as('known_delivery_status'),
      sql<boolean>`signature.status = 'PENDING' AND signature.expires_at <= clock_timestamp()`.as('due'),
    ])
    .executeTakeFirst()
  return (
    row && {
      id: row.id,
      signatureId: row.signature_id,
      channel: row.channel,
      provider: row.provider,
      status: row.status,
      deliveryStatus: row.known_delivery_status,
      providerChallengeId: row.provider_challenge_id,
      maskedPhone: row.phone_masked,
      triesRemaining: row.max_tries - row.tries_used,
      createdAt: row.created_at,
      sentAt: row.sent_at,
      expiresAt: row.expires_at,
      failure: row.failure_reason && { reason: row.failure_reason, providerErrorCode: row.provider_error_code },
      beingDelivered: row.status === 'PENDING' && row.known_delivery_status === null,
      due: row.due,
    }
  )
}

/**
 * Takes one try from a signature's open challenge, or returns undefined when there is none to take. Commits by itself:
 * the count must survive whatever happens to the comparison.
 */
export async function takeTry(db: Db, signatureId: string): Promise<Try | undefined> {
  const row = await db
    .updateTable('challenge')
    .set({ tries_used: sql`tries_used + 1` })
    .where('signature_id', '=', signatureId)
    .where('status', 'in', OPEN)
    .where('tries_used', '<', sql.ref<number>('max_tries'))
    .returning([
      'id',
      'code_hmac',
      'code_key_id',
      'tries_used',
      'max_tries',
      sql<boolean>`expires_at > clock_timestamp()`.as('live'),
    ])
    .executeTakeFirst()
  return (
    row && {
      challengeId: row.id,
      code: { hmac: row.code_hmac, keyId: row.code_key_id },
      number: row.tries_used,
      triesRemaining: row.max_tries - row.tries_used,
      live: row.live,
    }
  )
}

/** Records a wrong code. The last try's also fails challenge and signature; true when it did. */
export async function recordRejectedCode(db: Db, signatureId: string, rejected: Try): Promise<boolean> {
  return db.transaction().execute(async (trx) => {
    await lockSignature(trx, signatureId)
    await appendTimeline(trx, signatureId, 'CODE_REJECTED', rejected.challengeId, {
      try: String(rejected.number),
      tries_remaining: String(rejected.triesRemaining),
    })
    if (rejected.triesRemaining > 0) return false
    const failed = await trx
      .updateTable('challenge')
      .set({ status: 'FAILED', failure_reason: 'TRIES_EXHAUSTED' })
      .where('id', '=', rejected.challengeId)
      .where('status', 'in', OPEN)
      .returning('id')
      .executeTakeFirst()
    if (!failed) return false
    await endSignature(trx, signatureId, 'FAILED')
    await appendTimeline(trx, signatureId, 'SIGNATURE_FAILED', rejected.challengeId, { reason: 'TRIES_EXHAUSTED' })
    return true
  })
}

/**
 * Records how a delivery ended, with every call it made. What the provider said is kept whatever became of the challenge
 * meanwhile; its status changes only while it is PENDING. True when the signature failed by it.
 */
export async function recordDelivery(
  db: Db,
  { id, signatureId, provider }: Pick<Challenge, 'id' | 'signatureId' | 'provider'>,
  delivery: DeliveryOutcome,
): Promise<boolean> {
  return db.transaction().execute(async (trx) => {
    await lockSignature(trx, signatureId)
    if (delivery.attempts.length > 0) {
      await trx
        .insertInto('attempt')
        .values(
          delivery.attempts.map((attempt) => ({
            challenge_id: id,
            number: attempt.number,
            outcome: attempt.outcome,
            provider_error_code: attempt.providerErrorCode,
            started_at: attempt.startedAt,
            ended_at: attempt.endedAt,
          })),
        )
        .execute()
    }
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
      return false
    }

    if (delivery.outcome === 'unknown') {
      await trx.updateTable('challenge').set({ delivery_status: 'UNKNOWN' }).where('id', '=', id).execute()
      await appendTimeline(trx, signatureId, 'CHALLENGE_OUTCOME_UNKNOWN', id, details)
      return false
    }

    const reason = {
      reason: delivery.reason,
      ...(delivery.providerErrorCode !== null && { provider_error_code: delivery.providerErrorCode }),
    }
    await appendTimeline(trx, signatureId, 'CHALLENGE_FAILED', id, { ...details, ...reason })
    const failed = await trx
      .updateTable('challenge')
      .set({ status: 'FAILED', failure_reason: delivery.reason, provider_error_code: delivery.providerErrorCode })
      .where('id', '=', id)
      .where('status', '=', 'PENDING')
      .returning('id')
      .executeTakeFirst()
    if (!failed) return false
    await endSignature(trx, signatureId, 'FAILED')
    await appendTimeline(trx, signatureId, 'SIGNATURE_FAILED', id, reason)
    return true
  })
}
