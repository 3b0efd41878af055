import { createHash } from 'node:crypto'
import type { Context } from '../context.ts'
import type { SignatureWithChallenge } from '../db/latest-challenge.ts'
import { resendChallenge as resend } from '../db/resends.ts'
import { findClaim } from '../db/signatures.ts'
import type { Channel } from '../domain/challenge.ts'
import { lengthPrefixed } from '../domain/length-prefixed.ts'
import { AppError } from '../errors.ts'
import { challengeOutcome, currentWithChallenge, endOf } from './current.ts'
import { budgetWithin, deliverCode, newChallenge } from './deliver-code.ts'
import { nextUsable, noUsableProvider, planRoute } from './plan-route.ts'
import { openRecipient } from './recipient.ts'

export interface ResendChallenge {
  caller: string
  signatureId: string
  idempotencyKey: string
  /** Undefined goes by what the signature was started with. */
  channel: Channel | undefined
}

const RULES = { afterMs: 30_000, limit: 3 }

/**
 * Sends a new code in the place of the one before. The same key and request send no second one. `timeLeftMs` is how long
 * the caller waits. Throws the reasons that the proto names at ResendChallenge.
 */
export async function resendChallenge(
  ctx: Context,
  input: ResendChallenge,
  timeLeftMs: number,
  signal: AbortSignal,
): Promise<SignatureWithChallenge> {
  const { caller, signatureId, channel } = input
  const budgetMs = budgetWithin(ctx, timeLeftMs)
  const current = await currentWithChallenge(ctx, caller, signatureId)
  const repeated = await repeatedResend(ctx, input)
  if (repeated) return repeated
  const ended = endOf(current)
  if (ended) throw ended

  const { recipient, query } = await openRecipient(ctx, current.signature)
  const plan = planRoute(ctx, { ...query, channel: channel ?? query.channel })
  if (!plan) throw new AppError('NO_ROUTE', 'no row of the routing table matches')
  const { candidate, passedOver } = nextUsable(ctx, plan, [], recipient.pushToken !== undefined, budgetMs)
  if (!candidate) throw noUsableProvider(ctx, passedOver, budgetMs)
  using delivering = ctx.inFlight.enter(candidate.provider)
  const first = newChallenge(ctx, plan, candidate, passedOver, recipient.transactionDigest)
  const challenge = { ...first.challenge, choice: 'RESENT' as const }

  const resent = await resend(ctx.db, { ...input, fingerprint: fingerprintOf(input) }, challenge, passedOver, RULES)
  switch (resent.outcome) {
    case 'resent':
      break
    case 'repeated':
      return (await repeatedResend(ctx, input)) ?? raise(new Error('a claimed key has no claim'))
    case 'closed':
      throw endOf(await currentWithChallenge(ctx, caller, signatureId)) ?? new Error('still open')
    case 'no tries':
      throw new AppError('TRIES_EXHAUSTED', 'no tries are left', { metadata: { signature_id: signatureId } })
    case 'limit':
      throw new AppError('RESEND_LIMIT', `codes were sent again ${RULES.limit} times for this signature`)
    case 'too soon':
      throw new AppError('RESEND_TOO_SOON', 'the last code was sent a moment ago', { retryAfterMs: resent.waitMs })
  }
  await deliverCode(ctx, plan, recipient, { ...first, challenge }, delivering, timeLeftMs, signal)
  return challengeOutcome(ctx, caller, signatureId)
}

/** The answer to a call whose key was claimed before; undefined when it wasn't. */
async function repeatedResend(ctx: Context, input: ResendChallenge): Promise<SignatureWithChallenge | undefined> {
  const claim = await findClaim(ctx.db, input.caller, input.idempotencyKey)
  if (!claim) return undefined
  if (!claim.fingerprint.equals(fingerprintOf(input))) {
    throw new AppError('IDEMPOTENCY_KEY_REUSED', 'the idempotency key was used for another request')
  }
  return challengeOutcome(ctx, input.caller, claim.signatureId)
}

function fingerprintOf({ signatureId, channel }: ResendChallenge): Buffer {
  return createHash('sha256')
    .update(lengthPrefixed(['resend', signatureId, channel ?? '']))
    .digest()
}

function raise(error: Error): never {
  throw error
}
