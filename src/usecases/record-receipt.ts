import type { Context } from '../context.ts'
import { recordReceipt as record } from '../db/receipts.ts'
import { countryOf } from '../domain/phone.ts'
import type { Receipt } from '../domain/receipt.ts'
import { seal } from '../domain/sealed.ts'
import { currentSignature } from './current.ts'
import { fallBack } from './fall-back.ts'
import { openRecipient } from './recipient.ts'

/** What a receipt led to. `fallback` makes way for the next provider; call it at once when the vendor has its answer. */
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
  const { caller, signatureId, wantsFallback } = moved
  if (!wantsFallback) return { outcome }
  return { outcome, fallback: () => fallBack(ctx, { caller, signatureId, challengeId: receipt.challengeId }) }
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
