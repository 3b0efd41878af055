import type { Context } from '../context.ts'
import { findCalledSignature } from '../db/recipients.ts'
import type { Receipt, Spoken } from '../domain/receipt.ts'
import { spokenCodePlace } from '../domain/spoken-code.ts'
import { currentSignature } from './current.ts'
import { openSealed } from './known-keys.ts'
import { type ReceiptOutcome, recordReceipt } from './record-receipt.ts'

/** What a key press led to, and what the call says next. */
export interface HeardCode extends ReceiptOutcome {
  spoken?: Spoken | undefined
}

/**
 * Stores a key press in a call as a receipt, and opens the code that it asks for. The challenge counts as delivered only if
 * the code is said: not if another key was pressed or the code has ended meanwhile.
 */
export async function hearCode(ctx: Context, receipt: Receipt): Promise<HeardCode> {
  const spoken = receipt.deliveryStatus === 'DELIVERED' ? await openCode(ctx, receipt) : undefined
  const recorded = await recordReceipt(ctx, spoken ? receipt : { ...receipt, deliveryStatus: undefined })
  return { ...recorded, spoken }
}

async function openCode(ctx: Context, { challengeId, provider, spokenCode }: Receipt): Promise<Spoken | undefined> {
  const called = spokenCode && (await findCalledSignature(ctx.db, challengeId, provider))
  if (!called) return undefined
  const code = await openSealed(ctx, spokenCode, spokenCodePlace(challengeId))
  const { transaction } = await currentSignature(ctx, called.caller, called.signatureId)
  return { code, transaction, locale: called.locale }
}
