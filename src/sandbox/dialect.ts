import type { IncomingHttpHeaders } from 'node:http'
import type { Answer } from './http.ts'

/** A message that a vendor took as sent. */
export interface SimulatedMessage {
  /** The vendor's own id. */
  sid: string
  /** What the message goes over, as the service names its adapters. */
  provider: string
  /** E.164; for a push the registration token. */
  to: string
  /** The number, name or messaging service; for a push the project. */
  from: string
  /** What is read or heard; for a push its data as JSON. */
  body: string
  /** The vendor's word; it moves while receipts follow. */
  status: string
  /** Of a call that asks for a key: true until one is pressed, or the call is over. */
  awaits_key?: boolean
  /** ISO 8601 */
  created_at: string
}

/** An authenticated call that would send. */
export interface SimulatedCall {
  provider: string
  /** performance.now() when its body was complete. */
  atMs: number
  /** Without `authorization`. */
  headers: IncomingHttpHeaders
  /** Empty unless the call is a form. */
  form: URLSearchParams
  /** Undefined unless the call is JSON. */
  json: unknown
}

/** A change of a message's status. */
export interface ReceiptEvent {
  /** One of the provider's `receiptStatuses`. */
  status: string
  /** Of the vendor's kind; a failure without one has the vendor's for an unknown cause. */
  errorCode?: number | string
}

/** A receipt as it goes out, by POST. */
export interface ReceiptRequest {
  url: string
  headers: Record<string, string>
  body: string
}

/** The HTTP status that a receipt got, or why there was none. */
export type ReceiptAnswer = number | 'nobody listens' | 'no answer in time'

/** How a vendor reports the status of one message. */
export interface ReceiptPlan {
  /**
   * The usual events after the answer. A `silent` one moves the status without a receipt; one `afterKey` waits for a pressed
   * key.
   */
  course: (ReceiptEvent & { silent?: boolean; afterKey?: boolean })[]
  /** The signed receipt, or nothing when no address for receipts was given. */
  request(event: ReceiptEvent): ReceiptRequest | undefined | Promise<ReceiptRequest | undefined>
  /** What a pressed key leads to; undefined where none is asked for. */
  keyPress?: ((key: string) => ReceiptRequest) | undefined
  /** True if no key can be pressed any more once the message has this status. */
  isOver?(status: string): boolean
  /** True if the vendor sends a receipt once more that was sent `sent` times and last got `answer`. */
  isRetried(answer: ReceiptAnswer, sent: number): boolean
}

/** A request as a vendor sees it. */
export interface VendorRequest {
  method: string
  path: string
  /** The Host header. */
  host: string
  /** The Authorization header, or nothing. */
  authorization: string
  /** Empty unless the body is a form. */
  form: URLSearchParams
  /** Undefined unless the body is JSON. */
  json: unknown
}

/** An authenticated request that a fault may befall. */
export interface Exchange {
  /** The provider that is called, or what else a fault may name. */
  target: string
  /** E.164, as the call has it; undefined where no phone number is called. */
  phone?: string | undefined
  /** The vendor's answer if it refuses the call. */
  refusal?: Answer | undefined
  /** Carries the call out. Without a message nothing was sent; without a plan no receipts follow. */
  accept(): { answer: Answer; message?: SimulatedMessage; plan?: ReceiptPlan }
}

/** One vendor's way to talk. */
export interface Dialect {
  success: { status: number; type: string }
  owns(path: string): boolean
  /** The answer to a request that no fault befalls, or the exchange that it asks for. */
  read(request: VendorRequest): Answer | Exchange | Promise<Answer | Exchange>
  /** An error in the vendor's form; without a code that the vendor could give, the usual one for the status. */
  error(status: number, code: number | string | undefined, message: string): Answer
  /** Returns the headers of every answer. `startedMs` is performance.now() of the request. */
  headers(startedMs: number): Record<string, string>
  /** Forgets every access token that was issued. */
  expireTokens?(): void
}
