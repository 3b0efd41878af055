import { createHash } from 'node:crypto'
import { lengthPrefixed } from '../domain/length-prefixed.ts'
import type { Db, Trx } from './database.ts'

/** A caller's idempotency key and the request that it stands for. */
export interface Claim {
  caller: string
  idempotencyKey: string
  /** See {@link fingerprintOf}. */
  fingerprint: Buffer
  signatureId: string
}

/** Returns the SHA-256 of the parts in which one request differs from another. None may be personal data or a plain hash of it. */
export function fingerprintOf(parts: readonly (string | Buffer)[]): Buffer {
  return createHash('sha256').update(lengthPrefixed(parts)).digest()
}

/**
 * Claims a key. False if it was claimed before; waits for a transaction that is claiming it right now, so exactly one
 * succeeds.
 */
export async function claimKey(
  trx: Trx,
  { caller, idempotencyKey, fingerprint, signatureId }: Claim,
): Promise<boolean> {
  const claimed = await trx
    .insertInto('idempotency_key')
    .values({ caller, key: idempotencyKey, fingerprint, signature_id: signatureId })
    .onConflict((oc) => oc.columns(['caller', 'key']).doNothing())
    .returning('signature_id')
    .executeTakeFirst()
  return claimed !== undefined
}

/** Returns what a caller's key was claimed for, or undefined. */
export async function findClaim(
  db: Db,
  { caller, idempotencyKey }: Pick<Claim, 'caller' | 'idempotencyKey'>,
): Promise<Pick<Claim, 'fingerprint' | 'signatureId'> | undefined> {
  return db
    .selectFrom('idempotency_key')
    .where('caller', '=', caller)
    .where('key', '=', idempotencyKey)
    .select(['fingerprint', 'signature_id as signatureId'])
    .executeTakeFirst()
}
