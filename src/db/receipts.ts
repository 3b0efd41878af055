import { sql } from 'kysely'
import type { Receipt } from '../domain/receipt.ts'
import type { Sealed } from '../domain/sealed.ts'
import type { Db } from './database.ts'
import { atLeast, rankOf } from './delivery-status.ts'
import { takenIfWanted } from './fallbacks.ts'
import { lockSignature } from './signature-states.ts'
import { appendTimeline } from './timeline.ts'
import { transact } from './transact.ts'

/** What a receipt changed. */
export interface RecordedReceipt {
  /** `repeated`: stored before. `unknown`: about no message of ours. */
  outcome: 'recorded' | 'repeated' | 'unknown'
  /** Undefined where it didn't move the delivery status. */
  moved?: {
    caller: string
    signatureId: string
    /** ISO 3166-1 alpha-2 of the phone number; null where it isn't known. */
    country: string | null
    wantsFallback: boolean
    sentAt: Date | null
    reportedAt: Date
  }
}

/**
 * Stores a receipt with its sealed body and moves its challenge's delivery status up. Where our own write after the send
 * never came, the receipt stands in for it: the challenge becomes SENT, with the vendor's id and the receipt as proof. An
 * undelivered challenge is due for a fallback from then on, where its route wants one.
 */
export async function recordReceipt(db: Db, receipt: Receipt, body: Sealed): Promise<RecordedReceipt> {
  const { challengeId, attempt, provider, providerChallengeId, vendorStatus, deliveryStatus, proof } = receipt
  const providerErrorCode = receipt.providerErrorCode ?? null
  const challenge = await db
    .selectFrom('challenge')
    .innerJoin('signature', 'signature.id', 'challenge.signature_id')
    .where('challenge.id', '=', challengeId)
    .where('provider', '=', provider)
    .select(['signature_id as signatureId', 'caller', 'country'])
    .executeTakeFirst()
  if (!challenge) return { outcome: 'unknown' }
  const { signatureId, caller, country } = challenge

  return transact(db, async (trx): Promise<RecordedReceipt> => {
    await lockSignature(trx, signatureId)
    const kept = await trx
      .insertInto('receipt')
      .values({
        challenge_id: challengeId,
        attempt,
        provider_challenge_id: providerChallengeId,
        vendor_status: vendorStatus,
        provider_error_code: providerErrorCode,
        body_ciphertext: body.ciphertext,
        body_key_id: body.keyId,
        signature: proof.signature,
        key_name: proof.keyName,
      })
      .onConflict((oc) =>
        oc
          .expression(sql`challenge_id, provider_challenge_id, vendor_status, coalesce(provider_error_code, '')`)
          .doNothing(),
      )
      .returning('received_at')
      .executeTakeFirst()
    if (!kept) return { outcome: 'repeated' }

    const reportedAt = kept.received_at
    await trx.updateTable('challenge').set({ receipt_due_at: null }).where('id', '=', challengeId).execute()
    await trx
      .updateTable('challenge')
      .set({
        status: sql`CASE WHEN status = 'PENDING' THEN 'SENT' ELSE status END`,
        provider_challenge_id: providerChallengeId,
        // Body and signature are in the receipt's own row.
        provider_proof: JSON.stringify({ vendorStatus, receivedAt: reportedAt }),
        sent_at: reportedAt,
        delivery_status: atLeast('ACCEPTED'),
      })
      .where('id', '=', challengeId)
      .where('provider_challenge_id', 'is', null)
      .execute()
    if (!deliveryStatus) return { outcome: 'recorded' }

    // A receipt of another message of the challenge, from a call that seemed to have failed, says nothing about this one.
    const moved = await trx
      .updateTable('challenge')
      .set({
        delivery_status: deliveryStatus,
        vendor_status: vendorStatus,
        delivery_error_code: providerErrorCode,
        delivery_reported_at: reportedAt,
        // Once it has arrived, no fallback is due any more.
        fallback_due_at: deliveryStatus === 'UNDELIVERED' ? takenIfWanted : null,
      })
      .where('id', '=', challengeId)
      .where('provider_challenge_id', '=', providerChallengeId)
      // Equal ranks are ordered by status and code, so the result doesn't depend on arrival order.
      .where(
        sql<boolean>`
          (${rankOf(sql.ref('delivery_status'))}, coalesce(vendor_status, ''), coalesce(delivery_error_code, ''))
          < (${rankOf(sql`${deliveryStatus}::text`)}, ${vendorStatus}::text, ${providerErrorCode ?? ''}::text)
        `,
      )
      .returning((eb) => ['sent_at', eb('fallback_due_at', 'is not', null).as('wants_fallback')])
      .executeTakeFirst()
    if (!moved) return { outcome: 'recorded' }
    await appendTimeline(trx, signatureId, 'DELIVERY_REPORTED', challengeId, {
      delivery_status: deliveryStatus,
      vendor_status: vendorStatus,
      ...(providerErrorCode !== null && { provider_error_code: providerErrorCode }),
    })
    const { sent_at: sentAt } = moved
    const wantsFallback = Boolean(moved.wants_fallback)
    return { outcome: 'recorded', moved: { caller, signatureId, country, wantsFallback, sentAt, reportedAt } }
  })
}

/** Takes up to `limit` messages whose receipt never came. Each is taken by one process, however many look. */
export async function takeMissingReceipts(
  db: Db,
  limit: number,
): Promise<{ provider: string; routePriority: number }[]> {
  return db
    .updateTable('challenge')
    .set({ receipt_due_at: null })
    .where('id', 'in', (eb) =>
      eb
        .selectFrom('challenge')
        .where('receipt_due_at', '<=', sql<Date>`now()`)
        .select('id')
        .limit(limit)
        .forUpdate()
        .skipLocked(),
    )
    .returning(['provider', sql<number>`(route->>'priority')::integer`.as('routePriority')])
    .execute()
}
