import type { Answer } from './http.ts'

export const PROVIDERS = ['twilio-sms', 'twilio-voice', 'vonage-sms', 'fcm-push'] as const

/** What a message goes over, as the service names its adapters. */
export type SimulatedProvider = (typeof PROVIDERS)[number]

/** Whose next call a fault may wait for: a provider's, or the one for an access token that precedes a push. */
export type FaultTarget = SimulatedProvider | 'fcm-token'

/** A message that a vendor took as sent. */
export interface SimulatedMessage {
  /** The vendor's own id. */
  sid: string
  provider: SimulatedProvider
  /** E.164; for a push the registration token. */
  to: string
  /** The number, name or messaging service; for a push the project. */
  from: string
  /** What is read or heard; for a push its data as JSON. */
  body: string
  status: string
  /** ISO 8601 */
  created_at: string
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
  target: FaultTarget
  /** What the vendor says when it won't. */
  refusal?: Answer | undefined
  /** Does what was asked. Without a message nothing was sent. */
  accept(): { answer: Answer; message?: SimulatedMessage }
}

/** One vendor's way to talk. */
export interface Dialect {
  success: { status: number; type: string }
  owns(path: string): boolean
  /** The answer to a request that no fault befalls, or the exchange that it asks for. */
  read(request: VendorRequest): Answer | Exchange | Promise<Answer | Exchange>
  /** An error in the vendor's form; without a code that the vendor could give, the usual one for the status. */
  error(status: number, code: number | string | undefined, message: string): Answer
  /** What every answer bears. `startedMs` is performance.now() of the request. */
  headers(startedMs: number): Record<string, string>
}
