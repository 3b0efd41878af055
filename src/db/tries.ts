import { sql } from 'kysely'
import { OPEN } from '../domain/challenge.ts'
import type { SealedCode } from '../domain/one-time-code.ts'
import type { Db } from './database.ts'
import { endSignature, lockSignature } from './signature-states.ts'
import { appendTimeline, isOnTimeline } from './timeline.ts'
import { transact } from './transact.ts'

/** A try taken from a challenge: the sealed code to judge it by, and the tries left. */
export interface Try {
  challengeId: string
  code: SealedCode
  /** 1 for the first. */
  number: number
  triesRemaining: number
  /** The challenge had not expired, by the database's clock. */
  live: boolean
}

/**
 * Takes one try from a signature's open challenge, or returns undefined when there is none to take. Commits by itself:
 * the count must survive whatever happens to the comparison. Takes none if the code's key isn't among `keyIds`.
 */
export async function takeTry(db: Db, signatureId: string, keyIds: readonly string[]): Promise<Try | undefined> {
  const row = await db
    .updateTable('challenge')
    .set({ tries_used: sql`tries_used + 1` })
    .where('signature_id', '=', signatureId)
    .where('status', 'in', OPEN)
    .where('tries_used', '<', sql.ref<number>('max_tries'))
    .where('code_key_id', 'in', keyIds)
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

/** Returns the id of the key that the code of a signature's open challenge is sealed with; undefined if none is open. */
export async function openCodeKeyId(db: Db, signatureId: string): Promise<string | undefined> {
  const row = await db
    .selectFrom('challenge')
    .where('signature_id', '=', signatureId)
    .where('status', 'in', OPEN)
    .select('code_key_id')
    .executeTakeFirst()
  return row?.code_key_id
}

/** Records a wrong code. If that was the last try, fails challenge and signature, and returns true. */
export async function recordRejectedCode(db: Db, signatureId: string, rejected: Try): Promise<boolean> {
  return transact(db, async (trx) => {
    await lockSignature(trx, signatureId)
    const { challengeId, number, triesRemaining } = rejected
    const details = { try: String(number), tries_remaining: String(triesRemaining) }
    if (await isOnTimeline(trx, signatureId, { type: 'CODE_REJECTED', challengeId, details })) return false
    await appendTimeline(trx, signatureId, 'CODE_REJECTED', challengeId, details)
    if (triesRemaining > 0) return false
    // Whichever challenge is open by now: tries go over from one to the next.
    const failed = await trx
      .updateTable('challenge')
      .set({ status: 'FAILED', failure_reason: 'TRIES_EXHAUSTED' })
      .where('signature_id', '=', signatureId)
      .where('status', 'in', OPEN)
      .returning('id')
      .executeTakeFirst()
    if (!failed) return false
    await endSignature(trx, signatureId, 'FAILED')
    await appendTimeline(trx, signatureId, 'SIGNATURE_FAILED', failed.id, { reason: 'TRIES_EXHAUSTED' })
    return true
  })
}
