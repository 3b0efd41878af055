import { type Selectable, sql } from 'kysely'
import type { Challenge, ChallengeStatus, Channel, Choice, PassedOver } from '../domain/challenge.ts'
import type { SealedCode } from '../domain/one-time-code.ts'
import type { Route } from '../domain/routing.ts'
import { fromNow, type Trx } from './database.ts'
import type { Schema } from './schema.ts'
import { appendPassedOver, appendTimeline } from './timeline.ts'

/** Everything that a new challenge is written from. */
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
  /** No caller waits for it: another process sends a new code if this one dies before it has called a provider. */
  isUnattended: boolean
}

/** The tries of a signature, used and allowed. The next challenge takes both over. */
export type Tries = Pick<Selectable<Schema['challenge']>, 'tries_used' | 'max_tries'>

/**
 * Writes a PENDING challenge, and on the timeline those newly passed over for it. It expires with its signature, whose row
 * the transaction must hold, and takes over the tries of the challenge before, if there was one.
 */
export async function insertChallenge(
  trx: Trx,
  signatureId: string,
  challenge: NewChallenge,
  passedOver: PassedOver[],
  tries: Tries = { tries_used: 0, max_tries: challenge.maxTries },
): Promise<void> {
  const { id, channel, provider } = challenge
  await appendPassedOver(trx, signatureId, passedOver)
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
 * Cancels a challenge that is in one of the statuses `from` and puts the next one in its place, so that two codes are never
 * live. Returns false and writes nothing if it is in another, or if no try is left: the last try may be signing right now.
 * The transaction must hold the signature's row.
 */
export async function replaceChallenge(
  trx: Trx,
  { id, signatureId }: Pick<Challenge, 'id' | 'signatureId'>,
  from: readonly ChallengeStatus[],
  reason: string,
  { next, passedOver }: { next: NewChallenge; passedOver: PassedOver[] },
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
  await insertChallenge(trx, signatureId, next, passedOver, tries)
  return true
}

/** True if this challenge exists, that is, an earlier attempt did commit but its reply was lost. */
export async function isStored(trx: Trx, { id }: Pick<NewChallenge, 'id'>): Promise<boolean> {
  return (await trx.selectFrom('challenge').where('id', '=', id).select('id').executeTakeFirst()) !== undefined
}
