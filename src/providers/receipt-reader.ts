import type { Receipt, Spoken } from '../domain/receipt.ts'

/** A request that came to a webhook, as it came. */
export interface WebhookRequest {
  /** Path and query. */
  target: string
  headers: Readonly<Record<string, string | undefined>>
  rawBody: Buffer
}

/** Reads one kind of receipt of one vendor. */
export interface ReceiptReader {
  /** Where such receipts come in, for example /webhooks/twilio/messages. */
  readonly path: string
  /** For metrics and logs. */
  readonly provider: string
  /** The receipt, or undefined when it is not proven to be the vendor's word on one of our messages. */
  read(request: WebhookRequest): Promise<Receipt | undefined>
  /** Where the vendor waits for an answer: what it is to say, or the end of the call where there is nothing to say. */
  answer?(spoken: Spoken | undefined): { type: string; text: string }
}
