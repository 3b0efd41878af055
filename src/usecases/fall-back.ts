import type { Context } from '../context.ts'
import { type DueFallback, dropFallback, insertFallback } from '../db/fallbacks.ts'
import type { PassedOver, PassReason } from '../domain/challenge.ts'
import { currentChallenge, currentSignature } from './current.ts'
import { candidatesFor, type Plan } from './plan-route.ts'
import { openRecipient } from './recipient.ts'
import { sendChallenge } from './send-challenge.ts'

/** May be over in a moment, or not be so for another replica. */
const PASSING: readonly PassReason[] = ['PAUSED', 'BREAKER_OPEN', 'OVERLOADED', 'NOT_CONFIGURED']

/**
 * Sends a new code in the place of one that is due for a fallback: by the next provider of its route when its message did
 * not arrive, by the same provider when that was never called. The fallback stays due while a provider that is left is
 * passed over for something that passes, and when this process is ending.
 */
export async function fallBack(ctx: Context, due: DueFallback): Promise<void> {
  // A code that is cancelled now would have no successor.
  if (ctx.ending.aborted) return
  const { caller, signatureId, challengeId } = due
  const challenge = await currentChallenge(ctx, caller, challengeId)
  const { route, routingTableVersion, provider, channel } = challenge
  if (routingTableVersion === null) return dropFallback(ctx.db, due)
  const { recipient, query } = await openRecipient(ctx, await currentSignature(ctx, caller, signatureId))

  const reason = challenge.deliveryStatus === 'UNDELIVERED' ? 'UNDELIVERED' : 'NOT_SENT'
  const own: PassedOver[] = reason === 'UNDELIVERED' ? [{ provider, channel, reason }] : []
  const plan: Plan = {
    route,
    routingTableVersion,
    candidates: candidatesFor(route, query),
    passedOver: [...challenge.passedOver, ...own],
    isUnattended: true,
  }
  const sending = await sendChallenge(
    ctx,
    plan,
    recipient,
    async (next, passedOver) => {
      if (!(await insertFallback(ctx.db, due, reason, { next, passedOver }))) return undefined
      ctx.metrics.fallbacks.inc({ from: provider, to: next.provider, reason })
      return recipient
    },
    Number.POSITIVE_INFINITY,
    ctx.ending,
  )
  if (sending.outcome !== 'no_provider' || sending.passedOver.some(({ reason }) => PASSING.includes(reason))) return
  await dropFallback(ctx.db, due)
}
