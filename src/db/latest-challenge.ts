import { sql } from 'kysely'
import { type StoredChallenge, selectChallenges, toStoredChallenge } from './challenges.ts'
import type { Db } from './database.ts'
import { type StoredSignature, toStoredSignature } from './signatures.ts'
import { msUntil } from './time-left.ts'

/** A signature with the challenge that was made last for it. */
export interface SignatureWithChallenge {
  signature: StoredSignature
  challenge: StoredChallenge
}

/**
 * The signature of that id, when it is this caller's, with its latest challenge. Read in one statement, so that both are of
 * one moment: read apart, an aborted signature may look like one that waits for its code.
 */
export async function findWithLatestChallenge(
  db: Db,
  caller: string,
  id: string,
): Promise<SignatureWithChallenge | undefined> {
  const askedAt = performance.now()
  const row = await selectChallenges(db)
    .where('signature.id', '=', id)
    .where('caller', '=', caller)
    .orderBy('challenge.created_at', 'desc')
    .orderBy('challenge.id', 'desc')
    .limit(1)
    .select((eb) => [
      'signature.status as signature_status',
      'amount',
      'currency',
      'payee_name',
      'payee_account',
      'transaction_type',
      'reference',
      'transaction_digest',
      'signature.created_at as signature_created_at',
      'signature.expires_at as signature_expires_at',
      'completed_at',
      eb
        .selectFrom('challenge as each')
        .whereRef('each.signature_id', '=', 'signature.id')
        .select(sql<string[]>`array_agg(each.id::text ORDER BY each.created_at, each.id)`.as('ids'))
        .as('challenge_ids'),
      msUntil('signature.expires_at').as('left_ms'),
    ])
    .executeTakeFirst()
  return (
    row && {
      signature: toStoredSignature(
        {
          ...row,
          id: row.signature_id,
          status: row.signature_status,
          current_status: row.due ? 'EXPIRED' : row.signature_status,
          created_at: row.signature_created_at,
          expires_at: row.signature_expires_at,
        },
        askedAt,
      ),
      challenge: toStoredChallenge(row),
    }
  )
}
