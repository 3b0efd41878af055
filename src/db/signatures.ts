import { type RawBuilder, sql } from 'kysely'
import { fromDecimal, toDecimal } from '../domain/amount.ts'
import type { SealedCode } from '../domain/one-time-code.ts'
import type { SealedPhone } from '../domain/phone.ts'
import type { Route } from '../domain/routing.ts'
import type { Signature } from '../domain/signature.ts'
import type { Transaction } from '../domain/transaction.ts'
import type { Db } from './database.ts'
import { appendTimeline } from './timeline.ts'

/** Everything a new signature and its first challenge are written from. */
export interface NewSignature {
  id: string
  challengeId: string
  caller: string
  idempotencyKey: string
  /** SHA-256 of the request, to tell a repeated call from another one under the same key. */
  fingerprint: Buffer
  customerHmac: Buffer
  phoneHmac: Buffer
  phone: SealedPhone
  maskedPhone: string
  locale: string
  transaction: Transaction
  transactionDigest: Buffer
  route: Route
  code: SealedCode
  maxTries: number
  ttlMs: number
  /** How long the delivery may take before its process counts as dead. */
  leaseMs: number
}

/** A signature as it is stored, with what use cases judge it by. */
export interface StoredSignature extends Signature {
  transactionDigest: Buffer
  /** Still PENDING, but its time is over by the database's clock. */
  due: boolean
}

/**
 * Claims the idempotency key and writes signature, challenge and timeline, all or nothing. False when the key was
 * claimed before; then nothing is written.
 */
export async function insertSignature(db: Db, signature: NewSignature): Promise<boolean> {
  return db.transaction().execute(async (trx) => {
    // Waits for another transaction that is claiming the same key, so exactly one of them goes on.
    const claimed = await trx
      .insertInto('idempotency_key')
      .values({
        caller: signature.caller,
        key: signature.idempotencyKey,
        fingerprint: signature.fingerprint,
        signature_id: signature.id,
      })
      .onConflict((oc) => oc.columns(['caller', 'key']).doNothing())
      .returning('signature_id')
      .executeTakeFirst()
    if (!claimed) return false

    const { transaction, route } = signature
    await trx
      .insertInto('signature')
      .values({
        id: signature.id,
        caller: signature.caller,
        status: 'PENDING',
        customer_hmac: signature.customerHmac,
        phone_hmac: signature.phoneHmac,
        phone_ciphertext: signature.phone.ciphertext,
        phone_key_id: signature.phone.keyId,
        phone_masked: signature.maskedPhone,
        locale: signature.locale,
        amount: toDecimal(transaction.amount),
        currency: transaction.amount.currency,
        payee_name: transaction.payeeName,
        payee_account: transaction.payeeAccount,
        transaction_type: transaction.transactionType,
        reference: transaction.reference,
        transaction_digest: signature.transactionDigest,
        created_at: fromNow(0),
        expires_at: fromNow(signature.ttlMs),
      })
      .execute()
    await trx
      .insertInto('challenge')
      .values({
        id: signature.challengeId,
        signature_id: signature.id,
        channel: route.channel,
        provider: route.provider,
        route: JSON.stringify(route),
        status: 'PENDING',
        max_tries: signature.maxTries,
        code_hmac: signature.code.hmac,
        code_key_id: signature.code.keyId,
        created_at: fromNow(0),
        expires_at: fromNow(signature.ttlMs),
        lease_expires_at: fromNow(signature.leaseMs),
      })
      .execute()
    await appendTimeline(trx, signature.id, 'SIGNATURE_STARTED', signature.challengeId, {
      channel: route.channel,
      provider: route.provider,
      route: String(route.priority),
    })
    return true
  })
}

/** What an idempotency key was claimed for. */
export async function findClaim(
  db: Db,
  caller: string,
  idempotencyKey: string,
): Promise<{ fingerprint: Buffer; signatureId: string } | undefined> {
  return db
    .selectFrom('idempotency_key')
    .where('caller', '=', caller)
    .where('key', '=', idempotencyKey)
    .select(['fingerprint', 'signature_id as signatureId'])
    .executeTakeFirst()
}

/** The signature of that id, when it is this caller's. */
export async function findSignature(db: Db, caller: string, id: string): Promise<StoredSignature | undefined> {
  const row = await db
    .selectFrom('signature')
    .where('id', '=', id)
    .where('caller', '=', caller)
    .selectAll()
    .select((eb) => [
      eb
        .selectFrom('challenge')
        .whereRef('challenge.signature_id', '=', 'signature.id')
        .select(sql<string[]>`array_agg(challenge.id::text ORDER BY challenge.created_at, challenge.id)`.as('ids'))
        .as('challenge_ids'),
      sql<boolean>`status = 'PENDING' AND expires_at <= clock_timestamp()`.as('due'),
    ])
    .executeTakeFirst()
  return (
    row && {
      id: row.id,
      status: row.status,
      transaction: {
        amount: { currency: row.currency, ...fromDecimal(row.amount) },
        payeeName: row.payee_name,
        payeeAccount: row.payee_account,
        transactionType: row.transaction_type,
        reference: row.reference,
      },
      challengeIds: row.challenge_ids ?? [],
      createdAt: row.created_at,
      expiresAt: row.expires_at,
      completedAt: row.completed_at,
      transactionDigest: row.transaction_digest,
      due: row.due,
    }
  )
}

function fromNow(ms: number): RawBuilder<Date> {
  return sql<Date>`now() + ${ms} * interval '1 millisecond'`
}
