import { toDecimal } from '../domain/amount.ts'
import type { Channel } from '../domain/challenge.ts'
import type { Sealed } from '../domain/sealed.ts'
import type { Transaction } from '../domain/transaction.ts'
import { type Db, fromNow } from './database.ts'
import { type Claim, claimKey, findClaim } from './idempotency-keys.ts'
import { insertChallenge, type NewChallenge } from './new-challenges.ts'
import type { Schema } from './schema.ts'
import { findSignature, type StoredSignature } from './signatures.ts'
import { countDown, msUntil } from './time-left.ts'
import { appendTimeline } from './timeline.ts'
import { transact } from './transact.ts'

/** Everything a new signature is written from. */
export interface NewSignature extends Omit<Claim, 'signatureId'> {
  id: string
  customerHmac: Buffer
  phoneHmac: Buffer
  sealedPhone: Sealed
  maskedPhone: string
  /** ISO 3166-1 alpha-2; undefined for phone numbers of no country. */
  country: string | undefined
  sealedPushToken: Sealed | undefined
  requestedChannel: Channel | undefined
  customerSegment: string
  locale: string
  transaction: Transaction
  transactionDigest: Buffer
  ttlMs: number
}

/**
 * Claims the idempotency key and writes signature, challenge and timeline, all or nothing. Returns how long the signature
 * is valid. Returns undefined and writes nothing if the key was claimed before.
 */
export async function insertSignature(
  db: Db,
  signature: NewSignature,
  challenge: NewChallenge,
): Promise<Pick<StoredSignature, 'expiresAt' | 'leftMs'> | undefined> {
  const { id, caller } = signature
  return transact(db, async (trx) => {
    if (!(await claimKey(trx, { ...signature, signatureId: id }))) {
      // By an earlier run of this transaction, whose commit had no answer, or by another call.
      const claim = await findClaim(trx, signature)
      return claim?.signatureId === id ? findSignature(trx, caller, id) : undefined
    }
    const askedAt = performance.now()
    const { expires_at, left_ms } = await trx
      .insertInto('signature')
      .values(columnsOf(signature))
      .returning(['expires_at', msUntil('expires_at').as('left_ms')])
      .executeTakeFirstOrThrow()
    await appendTimeline(trx, id, 'SIGNATURE_STARTED', null, {
      route: String(challenge.route.priority),
      routing_table_version: String(challenge.routingTableVersion),
    })
    await insertChallenge(trx, id, challenge, challenge.passedOver)
    return { expiresAt: expires_at, leftMs: countDown(left_ms, askedAt) }
  })
}

/** Every field and every column has to be named here, or this doesn't compile. */
function columnsOf(signature: NewSignature) {
  const { id, caller, idempotencyKey, fingerprint, customerHmac, phoneHmac, sealedPhone, ...more } = signature
  const { maskedPhone, country, sealedPushToken, requestedChannel, customerSegment, locale, ...rest } = more
  const { transaction, transactionDigest, ttlMs, ...unnamed } = rest
  unnamed satisfies Record<string, never>
  return {
    id,
    caller,
    status: 'PENDING' as const,
    customer_hmac: customerHmac,
    phone_hmac: phoneHmac,
    phone_ciphertext: sealedPhone.ciphertext,
    phone_key_id: sealedPhone.keyId,
    phone_masked: maskedPhone,
    country: country ?? null,
    push_token_ciphertext: sealedPushToken?.ciphertext ?? null,
    push_token_key_id: sealedPushToken?.keyId ?? null,
    requested_channel: requestedChannel ?? null,
    customer_segment: customerSegment,
    locale,
    amount: toDecimal(transaction.amount),
    currency: transaction.amount.currency,
    payee_name: transaction.payeeName,
    payee_account: transaction.payeeAccount,
    transaction_type: transaction.transactionType,
    reference: transaction.reference,
    transaction_digest: transactionDigest,
    created_at: fromNow(0),
    expires_at: fromNow(ttlMs),
    completed_at: null,
  } satisfies Record<keyof Schema['signature'], unknown>
}
