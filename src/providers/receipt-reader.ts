import type { Receipt, Spoken } from '../domain/receipt.ts'

/** A request to a webhook, as it was received. */
export interface WebhookRequest {
  /** Path and query. */
  target: string
  headers: Readonly<Record<string, string | undefined>>
  rawBody: Buffer
}

/** Reads one kind of receipt of one vendor. */
export interface ReceiptReader {
  /** The path that such receipts are posted to, for example /webhooks/twilio/messages. */
  readonly path: string
  /** For metrics and logs. */
  readonly provider: string
  /** Returns the receipt, or undefined unless it is proven to come from the vendor and to be about one of our messages. */
  read(request: WebhookRequest): Promise<Receipt | undefined>
  /** Set where the vendor waits for an answer. Returns what the call says next; without `spoken` it ends the call. */
  answer?(spoken: Spoken | undefined): { type: string; text: string }
}
