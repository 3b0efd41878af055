import type { Context } from '../context.ts'
import { findChallenge, type StoredChallenge } from '../db/challenges.ts'
import { findWithLatestChallenge, type SignatureWithChallenge } from '../db/latest-challenge.ts'
import { expireSignature } from '../db/signature-states.ts'
import { findSignature, type StoredSignature } from '../db/signatures.ts'
import { AppError } from '../errors.ts'
import { reportAltered } from './altered.ts'

/** Returns a caller's signature as it stands now; closes it first if its time is over. Throws SIGNATURE_NOT_FOUND. */
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

/** Returns a caller's challenge as it stands now; closes it first if its signature's time is over. Throws CHALLENGE_NOT_FOUND. */
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

/** Returns a caller's signature with its latest challenge, same as {@link currentSignature}. */
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
