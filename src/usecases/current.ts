import type { Context } from '../context.ts'
import { findChallenge, type StoredChallenge } from '../db/challenges.ts'
import { expireSignature } from '../db/signature-states.ts'
import { findSignature, type StoredSignature } from '../db/signatures.ts'
import type { Challenge } from '../domain/challenge.ts'
import type { Signature } from '../domain/signature.ts'
import { AppError } from '../errors.ts'

/** A caller's signature as it stands now: closed first, when its time is over. Throws SIGNATURE_NOT_FOUND. */
export async function currentSignature(
  ctx: Pick<Context, 'db' | 'metrics'>,
  caller: string,
  id: string,
): Promise<StoredSignature> {
  const signature = await findSignature(ctx.db, caller, id)
  if (!signature) throw new AppError('SIGNATURE_NOT_FOUND', 'there is no such signature')
  if (!signature.due) return signature
  if (await expireSignature(ctx.db, id)) ctx.metrics.signatures.inc({ status: 'EXPIRED' })
  return currentSignature(ctx, caller, id)
}

/** A caller's challenge as it stands now: closed first, when its signature's time is over. Throws CHALLENGE_NOT_FOUND. */
export async function currentChallenge(
  ctx: Pick<Context, 'db' | 'metrics'>,
  caller: string,
  id: string,
): Promise<StoredChallenge> {
  const challenge = await findChallenge(ctx.db, caller, id)
  if (!challenge) throw new AppError('CHALLENGE_NOT_FOUND', 'there is no such challenge')
  if (!challenge.due) return challenge
  await currentSignature(ctx, caller, challenge.signatureId)
  return currentChallenge(ctx, caller, id)
}

/** The challenge that was made last for a signature. */
export async function latestChallenge(
  ctx: Pick<Context, 'db' | 'metrics'>,
  caller: string,
  signature: StoredSignature,
): Promise<StoredChallenge> {
  return currentChallenge(ctx, caller, signature.challengeIds.at(-1) ?? '')
}

/** What a caller is told who wants something of a signature that has ended; undefined while it is PENDING. */
export async function endOf(
  ctx: Pick<Context, 'db' | 'metrics'>,
  caller: string,
  signature: StoredSignature,
): Promise<AppError | undefined> {
  switch (signature.status) {
    case 'SIGNED':
      return new AppError('SIGNATURE_ALREADY_SIGNED', 'the signature was signed before')
    case 'ABORTED':
      return new AppError('SIGNATURE_ABORTED', 'the signature was aborted')
    case 'EXPIRED':
      return new AppError('SIGNATURE_EXPIRED', 'the code is no longer valid')
    case 'FAILED':
      return challengeFailure(await latestChallenge(ctx, caller, signature))
    case 'PENDING':
      return undefined
  }
}

/** What a caller is told of a challenge that failed: the same at once and at every later call. */
export function challengeFailure({ id, signatureId, provider, failure }: StoredChallenge): AppError {
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

/** A signature with the challenge that a call made for it. */
export interface SignatureWithChallenge {
  signature: Signature
  challenge: Challenge
}

/** What a caller told to wait for its own earlier call should wait. */
const IN_PROGRESS_RETRY_MS = 1_000

/** What came of delivering a signature's last challenge, as its caller is told by the call itself and by every repetition. */
export async function challengeOutcome(
  ctx: Pick<Context, 'db' | 'metrics'>,
  caller: string,
  signatureId: string,
): Promise<SignatureWithChallenge> {
  const signature = await currentSignature(ctx, caller, signatureId)
  const challenge = await latestChallenge(ctx, caller, signature)
  if (challenge.beingDelivered) {
    throw new AppError('IDEMPOTENCY_IN_PROGRESS', 'the first call with this key is still sending', {
      retryAfterMs: IN_PROGRESS_RETRY_MS,
    })
  }
  if (challenge.failure && challenge.failure.reason !== 'TRIES_EXHAUSTED') throw challengeFailure(challenge)
  return { signature, challenge }
}
