import type { Context } from '../context.ts'
import { type Claim, findClaim } from '../db/idempotency-keys.ts'
import type { SignatureWithChallenge } from '../db/latest-challenge.ts'
import { AppError } from '../errors.ts'
import { currentWithChallenge } from './current.ts'
import { endOf } from './signature-end.ts'

type Ctx = Pick<Context, 'db' | 'metrics' | 'log'>

/** A caller that repeats a call waits this long for its earlier one. */
const IN_PROGRESS_RETRY_MS = 1_000

/**
 * Returns the answer to a call that sends a code, the same for the call itself and for every repetition. Throws
 * IDEMPOTENCY_IN_PROGRESS while the code is being delivered, and why the signature has ended, unless it was signed.
 */
export async function sendingAnswer(ctx: Ctx, caller: string, signatureId: string): Promise<SignatureWithChallenge> {
  const current = await currentWithChallenge(ctx, caller, signatureId)
  const ended = endOf(current)
  if (ended && current.signature.status !== 'SIGNED') throw ended
  if (current.challenge.beingDelivered) {
    throw new AppError('IDEMPOTENCY_IN_PROGRESS', 'the first call with this key is still sending', {
      retryAfterMs: IN_PROGRESS_RETRY_MS,
    })
  }
  return current
}

/**
 * Returns the answer to a call whose key was claimed before; undefined if it wasn't. Throws IDEMPOTENCY_KEY_REUSED if the
 * key stands for another request, and what {@link sendingAnswer} throws.
 */
export async function repeatedAnswer(
  ctx: Ctx,
  call: Omit<Claim, 'signatureId'>,
): Promise<SignatureWithChallenge | undefined> {
  const claim = await findClaim(ctx.db, call)
  if (!claim) return undefined
  if (!claim.fingerprint.equals(call.fingerprint)) {
    throw new AppError('IDEMPOTENCY_KEY_REUSED', 'the idempotency key was used for another request')
  }
  return sendingAnswer(ctx, call.caller, claim.signatureId)
}
