import type { Context } from '../context.ts'
import { abortSignature as abort } from '../db/signature-states.ts'
import type { Signature } from '../domain/signature.ts'
import { currentSignature, currentWithChallenge } from './current.ts'
import { endOf } from './signature-end.ts'

export interface AbortSignature {
  caller: string
  signatureId: string
  reason: 'USER_CANCELLED' | 'FRAUD_DETECTED' | 'OPERATOR'
}

/** Aborts a PENDING signature. Returns one that is aborted already. Throws the reasons that the proto names. */
export async function abortSignature(
  ctx: Pick<Context, 'db' | 'metrics' | 'log'>,
  { caller, signatureId, reason }: AbortSignature,
): Promise<Signature> {
  await currentSignature(ctx, caller, signatureId)
  if (await abort(ctx.db, signatureId, reason)) ctx.metrics.signatures.inc({ status: 'ABORTED' })
  const current = await currentWithChallenge(ctx, caller, signatureId)
  if (current.signature.status === 'ABORTED') return current.signature
  throw endOf(current) ?? new Error('a signature that can not be aborted has not ended')
}
