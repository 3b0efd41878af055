import { type Selectable, sql } from 'kysely'
import type { Challenge, ChallengeStatus, Channel, Choice, PassedOver } from '../domain/challenge.ts'
import type { SealedCode } from '../domain/one-time-code.ts'
import type { Route } from '../domain/routing.ts'
import { fromNow, type Trx } from './database.ts'
import type { Schema } from './schema.ts'
import { appendSkipped, appendTimeline } from './timeline.ts'

/** Everything a new challenge is written from. */
export interface NewChallenge {
  id: string
  channel: Channel
  provider: string
  /** The row of the routing table that chose the provider. */
  route: Route
  routingTableVersion: number
  choice: Choice
  passedOver: PassedOver[]
  code: SealedCode
  maxTries: number
  /** How long the delivery may take before its process counts as dead. */
  leaseMs: number
  /** No caller waits for it, so that it must be made good when its process dies before it has called anybody. */
  isUnattended: boolean
}

/** How many codes were submitted for a signature, and how many may be. The next challenge takes both over. */
export type Tries = Pick<Selectable<Schema['challenge']>, 'tries_used' | 'max_tries'>

/**
 * Writes a challenge, PENDING, and who was skipped for it. It expires with its signature, which the transaction must
 * hold, and takes over the tries of the challenge before, if there was one.
 */
export async function insertChallenge(
  trx: Trx,
  signatureId: string,
  challenge: NewChallenge,
  skipped: PassedOver[],
  tries: Tries = { tries_used: 0, max_tries: challenge.maxTries },
): Promise<void> {
  const { id, channel, provider } = challenge
  await appendSkipped(trx, signatureId, skipped)
  await trx
    .insertInto('challenge')
    .values((eb) => ({
      id,
      signature_id: signatureId,
      channel,
      provider,
      route: JSON.stringify(challenge.route),
      routing_table_version: challenge.routingTableVersion,
      choice: challenge.choice,
      passed_over: JSON.stringify(challenge.passedOver),
      status: 'PENDING',
      tries_used: tries.tries_used,
      max_tries: tries.max_tries,
      code_hmac: challenge.code.hmac,
      code_key_id: challenge.code.keyId,
      created_at: fromNow(0),
      expires_at: eb.selectFrom('signature').where('id', '=', signatureId).select('expires_at').$asScalar(),
      lease_expires_at: fromNow(challenge.leaseMs),
      fallback_due_at: challenge.isUnattended ? fromNow(challenge.leaseMs) : null,
    }))
    .execute()
  await appendTimeline(trx, signatureId, 'CHALLENGE_STARTED', id, { channel, provider })
}

/**
 * Cancels a challenge that is still in one of these statuses and puts the next in its place, so that never two codes are
 * live. False when it isn't, or when no try is left: the last one may be signing right now, and another code could not.
 * Then nothing is written. The transaction must hold the signature.
 */
export async function replaceChallenge(
  trx: Trx,
  { id, signatureId }: Pick<Challenge, 'id' | 'signatureId'>,
  from: readonly ChallengeStatus[],
  reason: string,
  { next, skipped }: { next: NewChallenge; skipped: PassedOver[] },
): Promise<boolean> {
  const tries = await trx
    .updateTable('challenge')
    .set({ status: 'CANCELLED' })
    .where('id', '=', id)
    .where('status', 'in', from)
    .where('tries_used', '<', sql.ref<number>('max_tries'))
    .returning(['tries_used', 'max_tries'])
    .executeTakeFirst()
  if (!tries) return false
  await appendTimeline(trx, signatureId, 'CHALLENGE_CANCELLED', id, { reason })
  await insertChallenge(trx, signatureId, next, skipped, tries)
  return true
}

/** Whether there is such a challenge: an earlier run of a transaction has written it, whose commit had no answer. */
export async function isStored(trx: Trx, { id }: Pick<NewChallenge, 'id'>): Promise<boolean> {
  return (await trx.selectFrom('challenge').where('id', '=', id).select('id').executeTakeFirst()) !== undefined
}
