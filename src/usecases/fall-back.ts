import type { Context } from '../context.ts'
import { type DueFallback, dropFallback, insertFallback } from '../db/fallbacks.ts'
import type { PassedOver, PassReason } from '../domain/challenge.ts'
import { currentChallenge, currentSignature } from './current.ts'
import { deliverCode, newChallenge } from './deliver-code.ts'
import { candidatesFor, nextUsable, type Plan } from './plan-route.ts'
import { openRecipient } from './recipient.ts'

/** What may be over in a moment, or does not hold for another replica. */
const PASSING: readonly PassReason[] = ['PAUSED', 'BREAKER_OPEN', 'OVERLOADED', 'NOT_CONFIGURED']

/**
 * Sends a new code in the place of one that is due for a fallback: by the next provider of its route when its message did
 * not arrive, by its own when that was never called. While every provider that is left is in the way of something passing,
 * and when this process is ending, the fallback stays due.
 */
export async function fallBack(ctx: Context, due: DueFallback): Promise<void> {
  // A code that is cancelled now would have no successor.
  if (ctx.ending.aborted) return
  const { caller, signatureId, challengeId } = due
  const challenge = await currentChallenge(ctx, caller, challengeId)
  const { route, routingTableVersion, provider, channel } = challenge
  if (routingTableVersion === null) return dropFallback(ctx.db, due)
  const { recipient, query } = await openRecipient(ctx, await currentSignature(ctx, caller, signatureId))

  const plan: Plan = { route, routingTableVersion, candidates: candidatesFor(ctx, route, query), isUnattended: true }
  const reason = challenge.deliveryStatus === 'UNDELIVERED' ? 'UNDELIVERED' : 'NOT_SENT'
  const own: PassedOver[] = reason === 'UNDELIVERED' ? [{ provider, channel, reason }] : []
  const passed = [...challenge.passedOver, ...own]
  const { candidate, passedOver } = nextUsable(ctx, plan, passed, recipient.pushToken !== undefined)
  const skipped = passedOver.slice(passed.length)
  if (!candidate) {
    return skipped.some((each) => PASSING.includes(each.reason)) ? undefined : dropFallback(ctx.db, due)
  }
  using delivering = ctx.inFlight.enter(candidate.provider)

  const first = newChallenge(ctx, plan, candidate, passedOver, recipient.transactionDigest)
  if (!(await insertFallback(ctx.db, due, reason, { next: first.challenge, skipped }))) return
  ctx.metrics.fallbacks.inc({ from: provider, to: candidate.provider, reason })
  await deliverCode(ctx, plan, recipient, first, delivering, Number.POSITIVE_INFINITY, ctx.ending)
}
