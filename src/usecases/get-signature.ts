import type { Context } from '../context.ts'
import { readTimeline } from '../db/timeline.ts'
import type { Signature, TimelineEvent } from '../domain/signature.ts'
import { currentSignature } from './current.ts'

/** Returns a signature as it stands now, with its timeline. Throws SIGNATURE_NOT_FOUND. */
export async function getSignature(
  ctx: Pick<Context, 'db' | 'metrics' | 'log'>,
  caller: string,
  signatureId: string,
): Promise<Signature & { timeline: TimelineEvent[] }> {
  const signature = await currentSignature(ctx, caller, signatureId)
  return { ...signature, timeline: await readTimeline(ctx.db, signatureId) }
}
