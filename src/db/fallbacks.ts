import { type Challenge, OPEN } from '../domain/challenge.ts'
import type { PassedOver } from '../domain/fallback.ts'
import type { Db } from './database.ts'
import { isStored, type NewChallenge, replaceChallenge } from './new-challenges.ts'
import { lockSignature } from './signature-states.ts'
import { transact } from './transact.ts'

/**
 * Puts a challenge in the place of one whose message did not arrive. False when that one was closed meanwhile, no try is
 * left, or its signature's time is over; then nothing is written.
 */
export async function insertFallback(
  db: Db,
  { id, signatureId }: Pick<Challenge, 'id' | 'signatureId'>,
  onward: { next: NewChallenge; skipped: PassedOver[] },
): Promise<boolean> {
  return transact(db, async (trx) => {
    if ((await lockSignature(trx, signatureId)) !== 'live') return false
    if (await isStored(trx, onward.next)) return true
    return replaceChallenge(trx, { id, signatureId }, OPEN, 'UNDELIVERED', onward)
  })
}
