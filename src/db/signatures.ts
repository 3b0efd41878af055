import { sql } from 'kysely'
import { toDecimal } from '../domain/amount.ts'
import type { Channel } from '../domain/challenge.ts'
import type { Sealed } from '../domain/sealed.ts'
import type { Signature, SignatureStatus } from '../domain/signature.ts'
import type { Transaction } from '../domain/transaction.ts'
import { type Db, fromNow } from './database.ts'
import { insertChallenge, type NewChallenge } from './new-challenges.ts'
import { readTransaction } from './stored-transaction.ts'
import { countDown, msUntil } from './time-left.ts'
import { appendTimeline } from './timeline.ts'
import { transact } from './transact.ts'

/** Everything a new signature and its first challenge are written from. */
export interface NewSignature {
  id: string
  caller: string
  idempotencyKey: string
  /** SHA-256 of the request, to tell a repeated call from another one under the same key. */
  fingerprint: Buffer
  customerHmac: Buffer
  phoneHmac: Buffer
  phone: Sealed
  maskedPhone: string
  pushToken: Sealed | undefined
  requestedChannel: Channel | undefined
  customerSegment: string
  locale: string
  transaction: Transaction
  transactionDigest: Buffer
  ttlMs: number
  challenge: NewChallenge
}

/** A signature as it is stored, with what use cases judge it by. */
export interface StoredSignature extends Signature {
  transactionDigest: Buffer
  /** Still PENDING, but its time is over by the database's clock. */
  due: boolean
  /** Until its time is over by the database's clock, in milliseconds. Below zero when it is. */
  leftMs(): number
}

/**
 * Claims the idempotency key and writes signature, challenge and timeline, all or nothing. Returns how long the signature
 * has. Undefined when the key was claimed for another one before; then nothing is written.
 */
export async function insertSignature(
  db: Db,
  signature: NewSignature,
): Promise<Pick<StoredSignature, 'expiresAt' | 'leftMs'> | undefined> {
  return transact(db, async (trx) => {
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
    if (!claimed) {
      const claim = await findClaim(trx, signature.caller, signature.idempotencyKey)
      return claim?.signatureId === signature.id ? findSignature(trx, signature.caller, signature.id) : undefined
    }

    const { transaction, challenge } = signature
    const askedAt = performance.now()
    const { expires_at, left_ms } = await trx
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
        push_token_ciphertext: signature.pushToken?.ciphertext ?? null,
        push_token_key_id: signature.pushToken?.keyId ?? null,
        requested_channel: signature.requestedChannel ?? null,
        customer_segment: signature.customerSegment,
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
      .returning(['expires_at', msUntil('expires_at').as('left_ms')])
      .executeTakeFirstOrThrow()
    await appendTimeline(trx, signature.id, 'SIGNATURE_STARTED', null, {
      route: String(challenge.route.priority),
      routing_table_version: String(challenge.routingTableVersion),
    })
    await insertChallenge(trx, signature.id, challenge, challenge.passedOver)
    return { expiresAt: expires_at, leftMs: countDown(left_ms, askedAt) }
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

/** The signature of that id, when it is this caller's. Throws AlteredSignature. */
export async function findSignature(db: Db, caller: string, id: string): Promise<StoredSignature | undefined> {
  const askedAt = performance.now()
  const row = await selectSignatures(db).where('id', '=', id).where('caller', '=', caller).executeTakeFirst()
  return row && toStoredSignature(row, askedAt)
}

/** EXPIRED as soon as the time is over, though nobody may have closed it yet. */
const currentStatus = sql<SignatureStatus>`
  CASE WHEN status = 'PENDING' AND expires_at <= clock_timestamp() THEN 'EXPIRED' ELSE status END
`

/** Signatures with their challenges' ids and what the database's clock says of them. */
export function selectSignatures(db: Db) {
  return db
    .selectFrom('signature')
    .selectAll()
    .select((eb) => [
      eb
        .selectFrom('challenge')
        .whereRef('challenge.signature_id', '=', 'signature.id')
        .select(sql<string[]>`array_agg(challenge.id::text ORDER BY challenge.created_at, challenge.id)`.as('ids'))
        .as('challenge_ids'),
      currentStatus.as('current_status'),
      msUntil('expires_at').as('left_ms'),
    ])
}

type SignatureRow = Omit<
  Awaited<ReturnType<ReturnType<typeof selectSignatures>['executeTakeFirstOrThrow']>>,
  | 'caller'
  | 'locale'
  | 'requested_channel'
  | 'customer_segment'
  | `customer_${string}`
  | `phone_${string}`
  | `push_${string}`
>

/** A signature's row, asked for at that time of `performance.now()`, as use cases know it. */
export function toStoredSignature(row: SignatureRow, askedAt: number): StoredSignature {
  return {
    id: row.id,
    status: row.status,
    transaction: readTransaction(row),
    challengeIds: row.challenge_ids ?? [],
    createdAt: row.created_at,
    expiresAt: row.expires_at,
    completedAt: row.completed_at,
    transactionDigest: row.transaction_digest,
    due: row.status !== row.current_status,
    leftMs: countDown(row.left_ms, askedAt),
  }
}
