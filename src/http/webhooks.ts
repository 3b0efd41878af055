import type { IncomingMessage } from 'node:http'
import type { Context } from '../context.ts'
import { createGrowing } from '../net/growing.ts'
import { createHeldBytes } from '../net/held-bytes.ts'
import { type HeardCode, hearCode } from '../usecases/hear-code.ts'
import { recordReceipt } from '../usecases/record-receipt.ts'

/** What a webhook's sender is answered, and what is still to be done after that. */
export interface WebhookAnswer {
  status: number
  /** Plain text, unless told. */
  type?: string
  text: string
  after?: (() => Promise<void>) | undefined
}

const MAX_BODY_BYTES = 64 * 1024
/** What all unfinished requests may hold together. */
const MAX_HELD_BYTES = 32 * 1024 * 1024
const holdBytes = createHeldBytes(MAX_HELD_BYTES)

/** Takes in a receipt: 403 for one that isn't proven, 413 for one that is too large, else 200, whatever it is about. */
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
  // What fails now is due all the same, and is made by whichever replica looks next.
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

/** Headers that came once; one that came twice is no proof of anything. */
function singleHeaders({ headersDistinct }: IncomingMessage): Record<string, string | undefined> {
  return Object.fromEntries(
    Object.entries(headersDistinct).map(([name, values]) => [name, values?.length === 1 ? values[0] : undefined]),
  )
}
