import type { Context } from '../context.ts'
import { recordReceipt as record } from '../db/receipts.ts'
import type { Receipt } from '../domain/receipt.ts'
import { seal } from '../domain/sealed.ts'
import { fallBack } from './fall-back.ts'

/** What a receipt led to. `fallback` sends a code by the next provider; call it once the vendor has its answer. */
export interface ReceiptOutcome {
  outcome: 'recorded' | 'repeated' | 'unknown'
  fallback?: () => Promise<void>
}

/** Stores a vendor's receipt. Returns its outcome and the fallback that it calls for, if any. */
export async function recordReceipt(ctx: Context, receipt: Receipt): Promise<ReceiptOutcome> {
  const body = seal(ctx.keys.pii, receipt.proof.rawBody, receiptPlace(receipt.challengeId))
  const { outcome, moved } = await record(ctx.db, receipt, body)
  if (!moved) return { outcome }
  const { provider, deliveryStatus } = receipt
  if (deliveryStatus === 'DELIVERED' && moved.sentAt) {
    const seconds = Math.max(0, moved.reportedAt.getTime() - moved.sentAt.getTime()) / 1_000
    ctx.metrics.deliveryTime.observe({ provider, country: moved.country ?? '' }, seconds)
  }
  const { caller, signatureId, wantsFallback } = moved
  if (!wantsFallback) return { outcome }
  return { outcome, fallback: () => fallBack(ctx, { caller, signatureId, challengeId: receipt.challengeId }) }
}

/** Returns the place for which a receipt's body is sealed. */
function receiptPlace(challengeId: string): string {
  return `${challengeId}/receipt`
}
