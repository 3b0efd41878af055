import type { Context } from '../context.ts'
import { insertFallback } from '../db/fallbacks.ts'
import { recordReceipt as record } from '../db/receipts.ts'
import type { PassedOver } from '../domain/fallback.ts'
import { countryOf } from '../domain/phone.ts'
import type { Receipt } from '../domain/receipt.ts'
import { seal } from '../domain/sealed.ts'
import { currentChallenge, currentSignature } from './current.ts'
import { deliverCode, newChallenge } from './deliver-code.ts'
import { candidatesFor, nextUsable } from './plan-route.ts'
import { openRecipient } from './recipient.ts'

/** What a receipt led to. `fallback` makes way for the next provider; call it when the vendor has its answer. */
export interface ReceiptOutcome {
  outcome: 'recorded' | 'repeated' | 'unknown'
  fallback?: () => Promise<void>
}

/** Keeps a vendor's receipt, and tells what is still to be done about it. */
export async function recordReceipt(ctx: Context, receipt: Receipt): Promise<ReceiptOutcome> {
  const body = seal(ctx.keys.pii, receipt.proof.rawBody, receiptPlace(receipt.challengeId))
  const { outcome, moved } = await record(ctx.db, receipt, body)
  if (!moved) return { outcome }
  const { provider, deliveryStatus } = receipt
  if (deliveryStatus === 'DELIVERED' && moved.sentAt) {
    const seconds = Math.max(0, moved.reportedAt.getTime() - moved.sentAt.getTime()) / 1_000
    ctx.metrics.deliveryTime.observe({ provider, country: await countryIn(ctx, moved) }, seconds)
  }
  if (deliveryStatus !== 'UNDELIVERED' || !moved.isOpen) return { outcome }
  return { outcome, fallback: () => fallBack(ctx, moved, receipt.challengeId) }
}

/** The place for which a receipt's body is sealed. */
function receiptPlace(challengeId: string): string {
  return `${challengeId}/receipt`
}

/** The country of a signature's phone number. The receipt is recorded by now, so a number that can't be opened is none. */
async function countryIn(
  ctx: Context,
  { caller, signatureId }: { caller: string; signatureId: string },
): Promise<string> {
  const opened = await currentSignature(ctx, caller, signatureId)
    .then((signature) => openRecipient(ctx, signature))
    .catch((error) => ctx.log.error({ error, signature_id: signatureId }, 'recipient not opened'))
  return (opened && countryOf(opened.query.phone)) ?? ''
}

/** Sends a new code by the next provider of the route, when the route says so and the code is still open. */
async function fallBack(
  ctx: Context,
  { caller, signatureId }: { caller: string; signatureId: string },
  challengeId: string,
): Promise<void> {
  const { route, routingTableVersion, provider, channel, ...challenge } = await currentChallenge(
    ctx,
    caller,
    challengeId,
  )
  // A code that is cancelled now would have no successor.
  if (!route.fallbackOnUndelivered || routingTableVersion === null || ctx.ending.aborted) return
  const { recipient, query } = await openRecipient(ctx, await currentSignature(ctx, caller, signatureId))
  const plan = { route, routingTableVersion, candidates: candidatesFor(ctx, route, query) }
  const passed: PassedOver[] = [...challenge.passedOver, { provider, channel, reason: 'UNDELIVERED' }]
  const { candidate, passedOver } = nextUsable(ctx, plan, passed, recipient.pushToken !== undefined)
  if (!candidate) return
  using delivering = ctx.inFlight.enter(candidate.provider)

  const first = newChallenge(ctx, plan, candidate, passedOver, recipient.transactionDigest)
  const onward = { next: first.challenge, skipped: passedOver.slice(passed.length) }
  if (!(await insertFallback(ctx.db, { id: challengeId, signatureId }, onward))) return
  ctx.metrics.fallbacks.inc({ from: provider, to: candidate.provider, reason: 'UNDELIVERED' })
  await deliverCode(ctx, plan, recipient, first, delivering, ctx.challenges.budgetMs, ctx.ending)
}
