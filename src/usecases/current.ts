import type { Context } from '../context.ts'
import { findChallenge, type StoredChallenge } from '../db/challenges.ts'
import { findWithLatestChallenge, type SignatureWithChallenge } from '../db/latest-challenge.ts'
import { expireSignature } from '../db/signature-states.ts'
import { findSignature, type StoredSignature } from '../db/signatures.ts'
import { AppError } from '../errors.ts'
import { reportAltered } from './altered.ts'

/** A caller's signature as it stands now: closed first, when its time is over. Throws SIGNATURE_NOT_FOUND. */
export async function currentSignature(
  ctx: Pick<Context, 'db' | 'metrics' | 'log'>,
  caller: string,
  id: string,
): Promise<StoredSignature> {
  const signature = await findSignature(ctx.db, caller, id).catch(reportAltered(ctx))
  if (!signature) throw new AppError('SIGNATURE_NOT_FOUND', 'there is no such signature')
  if (!signature.due) return signature
  if (await expireSignature(ctx.db, id)) ctx.metrics.signatures.inc({ status: 'EXPIRED' })
  return currentSignature(ctx, caller, id)
}

/** A caller's challenge as it stands now: closed first, when its signature's time is over. Throws CHALLENGE_NOT_FOUND. */
export async function currentChallenge(
  ctx: Pick<Context, 'db' | 'metrics' | 'log'>,
  caller: string,
  id: string,
): Promise<StoredChallenge> {
  const challenge = await findChallenge(ctx.db, caller, id)
  if (!challenge) throw new AppError('CHALLENGE_NOT_FOUND', 'there is no such challenge')
  if (!challenge.due) return challenge
  await currentSignature(ctx, caller, challenge.signatureId)
  return currentChallenge(ctx, caller, id)
}

/** A caller's signature with its latest challenge, as {@link currentSignature}. */
export async function currentWithChallenge(
  ctx: Pick<Context, 'db' | 'metrics' | 'log'>,
  caller: string,
  id: string,
): Promise<SignatureWithChallenge> {
  const found = await findWithLatestChallenge(ctx.db, caller, id).catch(reportAltered(ctx))
  if (found && !found.signature.due) return found
  await currentSignature(ctx, caller, id)
  return currentWithChallenge(ctx, caller, id)
}

/** What a caller is told who wants something of a signature that has ended; undefined while it is PENDING. */
export function endOf({ signature, challenge }: SignatureWithChallenge): AppError | undefined {
  const metadata = { signature_id: signature.id }
  switch (signature.status) {
    case 'SIGNED':
      return new AppError('SIGNATURE_ALREADY_SIGNED', 'the signature was signed before', { metadata })
    case 'ABORTED':
      return new AppError('SIGNATURE_ABORTED', 'the signature was aborted', { metadata })
    case 'EXPIRED':
      return new AppError('SIGNATURE_EXPIRED', 'the code is no longer valid', { metadata })
    case 'FAILED':
      return challengeFailure(challenge)
    case 'PENDING':
      return undefined
  }
}

/** What a caller is told of a challenge that failed: the same at once and at every later call. */
function challengeFailure({ id, signatureId, provider, failure }: StoredChallenge): AppError {
  const metadata = { signature_id: signatureId, challenge_id: id, provider }
  switch (failure?.reason) {
    case 'TRIES_EXHAUSTED':
      return new AppError('TRIES_EXHAUSTED', 'too many wrong codes were submitted', { metadata })
    case 'DESTINATION_UNREACHABLE':
      return new AppError('DESTINATION_UNREACHABLE', 'the code can not be delivered to this phone number', {
        metadata: { ...metadata, provider_error_code: failure.providerErrorCode ?? '' },
      })
    default:
      return new AppError('PROVIDER_UNAVAILABLE', 'no provider took the message', {
        metadata: { ...metadata, provider_error_code: failure?.providerErrorCode ?? '' },
      })
  }
}

/** What a caller told to wait for its own earlier call should wait. */
const IN_PROGRESS_RETRY_MS = 1_000

/**
 * What came of delivering a signature's last challenge, as its caller is told by the call itself and by every repetition.
 * Throws why the signature has ended, unless it was signed.
 */
export async function challengeOutcome(
  ctx: Pick<Context, 'db' | 'metrics' | 'log'>,
  caller: string,
  signatureId: string,
): Promise<SignatureWithChallenge> {
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
