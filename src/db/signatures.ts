import { sql } from 'kysely'
import type { Signature, SignatureStatus } from '../domain/signature.ts'
import type { Db } from './database.ts'
import { readTransaction } from './stored-transaction.ts'
import { countDown, msUntil } from './time-left.ts'

/** A stored signature, with the facts that use cases judge it by. */
export interface StoredSignature extends Signature {
  transactionDigest: Buffer
  /** Still PENDING, but its time is over by the database's clock. */
  due: boolean
  /** Returns the milliseconds until its time is over by the database's clock; below zero after that. */
  leftMs(): number
}

/** Returns the signature of that id if it is this caller's. Throws AlteredSignature. */
export async function findSignature(db: Db, caller: string, id: string): Promise<StoredSignature | undefined> {
  const askedAt = performance.now()
  const row = await selectSignatures(db).where('id', '=', id).where('caller', '=', caller).executeTakeFirst()
  return row && toStoredSignature(row, askedAt)
}

/** EXPIRED as soon as the time is over, even if no process has closed it yet. */
const currentStatus = sql<SignatureStatus>`
  CASE WHEN status = 'PENDING' AND expires_at <= clock_timestamp() THEN 'EXPIRED' ELSE status END
`

/** Selects signatures with their challenges' ids, and their status by the database's clock. */
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
  | 'country'
  | `customer_${string}`
  | `phone_${string}`
  | `push_${string}`
>

/** Converts a row of {@link selectSignatures}, read at `askedAt` of `performance.now()`. */
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
