import type { Context } from '../context.ts'
import { abortSignature, settleSignature, signSignature } from '../db/signature-states.ts'
import { persist } from '../db/transact.ts'
import { openCodeKeyId, recordRejectedCode, type Try, takeTry } from '../db/tries.ts'
import type { KeyRing } from '../domain/keys.ts'
import { isSealedCode } from '../domain/one-time-code.ts'
import type { Signature } from '../domain/signature.ts'
import { type Transaction, transactionDigest } from '../domain/transaction.ts'
import { AppError } from '../errors.ts'
import { currentSignature, currentWithChallenge } from './current.ts'
import { ringWith } from './known-keys.ts'
import { endOf } from './signature-end.ts'

export interface CompleteSignature {
  caller: string
  signatureId: string
  code: string
  /** As the caller is about to execute it. */
  transaction: Transaction
}

type Ctx = Pick<Context, 'db' | 'keys' | 'readSecretsAgain' | 'log' | 'metrics'>

/** A try that was taken is judged even if the database is away for up to this long in between. */
const JUDGE_FOR_MS = 5_000

/**
 * Signs with the customer's code. Each call whose code is compared has taken a try before; a transaction other than the
 * one started aborts the signature. Throws the reasons that the proto names at CompleteSignature.
 */
export async function completeSignature(ctx: Ctx, input: CompleteSignature): Promise<Signature> {
  const { caller, signatureId, code } = input
  const signature = await currentSignature(ctx, caller, signatureId)

  if (!transactionDigest(input.transaction).equals(signature.transactionDigest)) {
    if (!(await abortSignature(ctx.db, signatureId, 'TRANSACTION_MISMATCH'))) throw await refusal(ctx, input)
    ctx.metrics.signatures.inc({ status: 'ABORTED' })
    throw new AppError('TRANSACTION_MISMATCH', 'the transaction differs from the one started; the signature is aborted')
  }

  const { taken, ring } = await takeTryWithKey(ctx, signatureId)
  if (!taken?.live) throw await refusal(ctx, input)

  const { challengeId } = taken
  if (!isSealedCode(ring, taken.code, code, { challengeId, transactionDigest: signature.transactionDigest })) {
    throw await rejection(ctx, signatureId, taken)
  }

  if (!(await persist(JUDGE_FOR_MS, () => signSignature(ctx.db, signatureId, taken)))) {
    const { status } = await currentSignature(ctx, caller, signatureId)
    // Another challenge took the place of this one in between: its code is a wrong one by now, and the try was taken.
    throw status === 'PENDING' ? await rejection(ctx, signatureId, taken) : await refusal(ctx, input)
  }
  ctx.metrics.signatures.inc({ status: 'SIGNED' })
  return currentSignature(ctx, caller, signatureId)
}

/** Takes a try only when the key to judge it by is at hand: a customer's try is never lost to a rotation under way. */
async function takeTryWithKey(ctx: Ctx, signatureId: string): Promise<{ taken: Try | undefined; ring: KeyRing }> {
  const ring = ctx.keys.code
  const taken = await takeTry(ctx.db, signatureId, knownIds(ring))
  if (taken) return { taken, ring }
  const keyId = await openCodeKeyId(ctx.db, signatureId)
  if (keyId === undefined || knownIds(ring).includes(keyId)) return { taken, ring }
  const newer = await ringWith(ctx, 'code', keyId)
  return { taken: await takeTry(ctx.db, signatureId, knownIds(newer)), ring: newer }
}

/** '' where no code was sealed: then any is wrong. */
function knownIds(ring: KeyRing): string[] {
  return ['', ...ring.byId.keys()]
}

/** Records that a code was wrong. Returns the error for its caller. */
async function rejection(ctx: Ctx, signatureId: string, taken: Try): Promise<AppError> {
  const failed = await persist(JUDGE_FOR_MS, () => recordRejectedCode(ctx.db, signatureId, taken))
  if (failed) ctx.metrics.signatures.inc({ status: 'FAILED' })
  return codeRejected(taken.triesRemaining)
}

function codeRejected(triesRemaining: number): AppError {
  return new AppError('CODE_REJECTED', 'the code is wrong', { metadata: { tries_remaining: String(triesRemaining) } })
}

/** Returns why a signature can't be completed (any more). */
async function refusal(ctx: Ctx, { caller, signatureId }: CompleteSignature): Promise<AppError> {
  // The call that took the last try may be signing: then this one must report that.
  await settleSignature(ctx.db, signatureId)
  const current = await currentWithChallenge(ctx, caller, signatureId)
  const ended = endOf(current)
  if (ended) return ended
  const { triesRemaining } = current.challenge
  // Another challenge took the place of the one whose code this may be.
  if (triesRemaining > 0) return codeRejected(triesRemaining)
  // The last try was taken by a call that has not closed the signature yet.
  return new AppError('TRIES_EXHAUSTED', 'no tries are left')
}
