import { type RawBuilder, sql } from 'kysely'
import { fromDecimal, toDecimal } from '../domain/amount.ts'
import { OPEN } from '../domain/challenge.ts'
import type { SealedCode } from '../domain/one-time-code.ts'
import type { SealedPhone } from '../domain/phone.ts'
import type { Route } from '../domain/routing.ts'
import type { Signature, SignatureStatus } from '../domain/signature.ts'
import type { Transaction } from '../domain/transaction.ts'
import type { Db, Trx } from './database.ts'
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

/**
 * Signs, when the challenge is still open and live by the database's clock. False when it isn't: another call was first,
 * or time ran out.
 */
export async function signSignature(db: Db, signatureId: string, challengeId: string): Promise<boolean> {
  return db.transaction().execute(async (trx) => {
    await lockSignature(trx, signatureId)
    const completed = await trx
      .updateTable('challenge')
      .set({ status: 'COMPLETED' })
      .where('id', '=', challengeId)
      .where('status', 'in', OPEN)
      .where('expires_at', '>', sql<Date>`clock_timestamp()`)
      .returning('id')
      .executeTakeFirst()
    if (!completed) return false
    await endSignature(trx, signatureId, 'SIGNED')
    await appendTimeline(trx, signatureId, 'SIGNATURE_SIGNED', challengeId)
    return true
  })
}

/** Aborts a signature that is still PENDING and not due. False when it isn't. */
export async function abortSignature(db: Db, signatureId: string, reason: string): Promise<boolean> {
  return db.transaction().execute(async (trx) => {
    if ((await lockSignature(trx, signatureId)) !== 'live') return false
    await closeChallenge(trx, signatureId, 'CANCELLED')
    await endSignature(trx, signatureId, 'ABORTED')
    await appendTimeline(trx, signatureId, 'SIGNATURE_ABORTED', null, { reason })
    return true
  })
}

/** Closes a signature whose time is over by the database's clock. False when it isn't, or it was closed before. */
export async function expireSignature(db: Db, signatureId: string): Promise<boolean> {
  return db.transaction().execute(async (trx) => {
    if ((await lockSignature(trx, signatureId)) !== 'due') return false
    await closeChallenge(trx, signatureId, 'EXPIRED')
    await endSignature(trx, signatureId, 'EXPIRED')
    await appendTimeline(trx, signatureId, 'SIGNATURE_EXPIRED', null)
    return true
  })
}

/**
 * Locks a signature's row until the transaction ends and tells how it stands. Whatever changes a signature or its
 * challenges takes this lock first, so that such changes follow one another and can't deadlock.
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

/** Waits until whoever is changing the signature right now is done. */
export async function settleSignature(db: Db, id: string): Promise<void> {
  await db.transaction().execute((trx) => lockSignature(trx, id))
}

/** Gives a locked, PENDING signature its final status. */
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

function fromNow(ms: number): RawBuilder<Date> {
  return sql<Date>`now() + ${ms} * interval '1 millisecond'`
}
