import type { Context } from '../context.ts'
import { readTimeline } from '../db/timeline.ts'
import type { SignatureStatus, TimelineEvent } from '../domain/signature.ts'
import { AppError } from '../errors.ts'
import { currentSignature } from './current.ts'

export interface WatchSignature {
  caller: string
  signatureId: string
  /** 0 starts at the beginning. */
  afterPosition: number
}

/**
 * Yields a signature's events after a position, each once and in order, as they happen, until the signature has ended.
 * Throws the reasons that the proto names, and the signal's reason.
 */
export async function* watchSignature(
  ctx: Pick<Context, 'db' | 'metrics' | 'log' | 'notices'>,
  { caller, signatureId, afterPosition }: WatchSignature,
  signal: AbortSignal,
): AsyncGenerator<{ event: TimelineEvent; status: SignatureStatus }> {
  // Before the first read: what happens between a read and the next wait is not missed.
  using changes = ctx.notices.follow(signatureId, signal)
  if (afterPosition > 0) await ctx.notices.read(() => checkPosition(ctx, { caller, signatureId, afterPosition }))
  const look = async (after: number) => {
    const events = await readTimeline(ctx.db, signatureId, after)
    // After the events, so that the status is never older than they are.
    const { status, leftMs } = await currentSignature(ctx, caller, signatureId)
    return { events, status, leftMs }
  }
  let position = afterPosition
  let ended = false
  while (true) {
    const { events, status, leftMs } = await ctx.notices.read(() => look(position))
    for (const event of events) {
      yield { event, status }
      position = event.position
    }
    // Only a read that began after the end has every event.
    if (ended) return
    ended = status !== 'PENDING'
    if (!ended) await changes.next(leftMs(), position)
  }
}

async function checkPosition(
  ctx: Pick<Context, 'db' | 'metrics' | 'log'>,
  { caller, signatureId, afterPosition }: WatchSignature,
): Promise<void> {
  await currentSignature(ctx, caller, signatureId)
  const last = (await readTimeline(ctx.db, signatureId)).at(-1)?.position ?? 0
  if (afterPosition > last) {
    throw new AppError('POSITION_NOT_FOUND', `the signature's last position is ${last}`, {
      metadata: { last_position: String(last) },
    })
  }
}
