import type { IncomingMessage } from 'node:http'
import type { Context } from '../context.ts'
import { createGrowing } from '../net/growing.ts'
import { createHeldBytes } from '../net/held-bytes.ts'
import { type HeardCode, hearCode } from '../usecases/hear-code.ts'
import { recordReceipt } from '../usecases/record-receipt.ts'

/** The answer to a webhook's sender. */
export interface WebhookAnswer {
  status: number
  /** The content type. Plain text by default. */
  type?: string
  text: string
  /** Called after the answer was sent. Never rejects. */
  after?: (() => Promise<void>) | undefined
}

const MAX_BODY_BYTES = 64 * 1024
/** The most bytes that all unfinished requests may hold together. */
const MAX_HELD_BYTES = 32 * 1024 * 1024
const holdBytes = createHeldBytes(MAX_HELD_BYTES)

/**
 * Records a receipt. Returns 403 if its signature is wrong, 413 if it is too large, and else 200, also for a message that is
 * not ours.
 */
export async function takeReceipt(
  ctx: Context,
  reader: Context['receiptReaders'][number],
  request: IncomingMessage,
): Promise<WebhookAnswer> {
  const rawBody = await readBody(request)
  if (!rawBody) return { status: 413, text: 'at most 64 KiB' }
  const receipt = await reader.read({ target: request.url ?? '', headers: singleHeaders(request), rawBody })
  const count = (outcome: string) => ctx.metrics.receipts.inc({ provider: reader.provider, outcome })
  if (!receipt) {
    count('forged')
    ctx.log.warn({ provider: reader.provider }, 'receipt refused')
    return { status: 403, text: 'not signed as expected' }
  }
  const taken: Promise<HeardCode> = reader.answer ? hearCode(ctx, receipt) : recordReceipt(ctx, receipt)
  const { outcome, fallback, spoken } = await taken
  count(outcome)
  ctx.log.info(
    { provider: reader.provider, challenge_id: receipt.challengeId, status: receipt.vendorStatus, outcome },
    'receipt',
  )
  // A fallback that fails here stays due: the next replica that looks for due fallbacks makes it.
  const after = async () => {
    await fallback?.().catch((error) => ctx.log.error({ error }, 'fallback after a receipt failed'))
  }
  return { status: 200, text: 'ok', ...reader.answer?.(spoken), after }
}

async function readBody(request: IncomingMessage): Promise<Buffer | undefined> {
  using hold = holdBytes(() => request.destroy())
  const body = createGrowing(hold)
  for await (const chunk of request) {
    if (body.bytes.length + chunk.length > MAX_BODY_BYTES) return undefined
    body.write(chunk, body.bytes.length)
  }
  return body.bytes
}

/** Returns the headers that came once. A header that came twice proves nothing, so its value is undefined. */
function singleHeaders({ headersDistinct }: IncomingMessage): Record<string, string | undefined> {
  return Object.fromEntries(
    Object.entries(headersDistinct).map(([name, values]) => [name, values?.length === 1 ? values[0] : undefined]),
  )
}
