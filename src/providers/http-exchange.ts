import { AsyncLocalStorage } from 'node:async_hooks'
import { subscribe } from 'node:diagnostics_channel'
import { STATUS_CODES } from 'node:http'
import type { FailureClass } from '../domain/delivery.ts'
import { readUpTo } from '../net/read-up-to.ts'
import { ProviderError } from './provider.ts'

/** A whole answer, read to its end. */
export interface HttpAnswer {
  status: number
  headers: Record<string, string>
  body: string
}

const MAX_BODY_BYTES = 64 * 1024

/**
 * Makes one HTTP call for a provider: no redirects, at most 64 KiB of answer, over when the signal says so, however the
 * answer trickles in. Throws {@link ProviderError} when there is no whole answer.
 */
export async function exchange(
  provider: string,
  url: string,
  init: { method: string; headers: Record<string, string>; body?: string },
  signal: AbortSignal,
): Promise<HttpAnswer> {
  if (signal.aborted) throw new ProviderError(provider, abortCode(signal), 'transient')
  let accepted = false
  const call = { written: true }
  try {
    const response = await calls.run(call, () => fetch(url, { ...init, redirect: 'manual', signal }))
    accepted = response.ok
    // A refusal stands even if its body can't be read.
    const bytes = await readUpTo(MAX_BODY_BYTES, response.body).catch((error) => {
      if (accepted) throw error
    })
    if (accepted && !bytes) throw new ProviderError(provider, 'BODY_TOO_LARGE', 'unproven')
    return {
      status: response.status,
      headers: Object.fromEntries(response.headers),
      body: bytes?.toString('utf8') ?? '',
    }
  } catch (error) {
    if (error instanceof ProviderError) throw error
    const code = signal.aborted ? abortCode(signal) : systemCode(error)
    // The status line said yes, so the message is on its way, even though the rest is lost.
    if (accepted) throw new ProviderError(provider, code, 'unproven')
    throw new ProviderError(provider, code, call.written ? 'unknown' : 'transient')
  }
}

/** True if the provider accepted the request. */
export function isAccepted({ status }: HttpAnswer): boolean {
  return status >= 200 && status < 300
}

/**
 * What an answer that isn't a 2xx means: after a 5xx always that trying again helps, else what the table says of the
 * provider's own code, else of the status (`HTTP_400`); what the table lacks is `ours`, a 429 `transient`.
 */
export function refusal(
  provider: string,
  { status, headers }: HttpAnswer,
  vendorCode: string | undefined,
  meanings: Readonly<Record<string, FailureClass>>,
): ProviderError {
  const meaningOf = (code: string) => (Object.hasOwn(meanings, code) ? meanings[code] : undefined)
  const statusCode = `HTTP_${status}`
  const code = vendorCode ?? statusCode
  const known = meaningOf(code)
  const byStatus = meaningOf(statusCode) ?? (status === 429 ? 'transient' : 'ours')
  const failureClass = status >= 500 ? 'transient' : (known ?? byStatus)
  return new ProviderError(provider, code, failureClass, {
    retryAfterMs: failureClass === 'transient' ? retryAfterMs(headers['retry-after']) : undefined,
    isInvented: vendorCode === undefined ? STATUS_CODES[status] === undefined : known === undefined,
  })
}

/** The answer's body where it is a JSON object, else an empty object. What is in its fields is for the caller to check. */
export function jsonOf({ body }: HttpAnswer): Record<string, unknown> {
  return jsonIn(body)
}

/** The text where it is a JSON object, else an empty object. */
export function jsonIn(text: string): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(text)
    return isObject(value) ? value : {}
  } catch {
    return {}
  }
}

export function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null
}

/** The value of an Authorization header: RFC 7617. */
export function basicAuth(user: string, password: string): string {
  return `Basic ${Buffer.from(`${user}:${password}`).toString('base64')}`
}

/** Returns why a call was given up: `TIMEOUT` or `ABORTED`. */
export function abortCode(signal: AbortSignal): string {
  return signal.reason instanceof DOMException && signal.reason.name === 'TimeoutError' ? 'TIMEOUT' : 'ABORTED'
}

// fetch doesn't distinguish a request that was never written from one that may have been carried out, nor does the
// error's code: ECONNRESET and a timeout may come from the TLS handshake. Its client says when it begins to write.
// https://github.com/nodejs/undici/blob/main/docs/docs/api/DiagnosticsChannel.md
const calls = new AsyncLocalStorage<{ written: boolean }>()
const callOf = new WeakMap<object, { written: boolean }>()
subscribe('undici:request:create', (message) => {
  const call = calls.getStore()
  const request = requestOf(message)
  // It asks a proxy for a way to the provider, who sees nothing of it.
  if (!call || request.method === 'CONNECT') return
  call.written = false
  callOf.set(request, call)
})
subscribe('undici:client:sendHeaders', (message) => {
  const call = callOf.get(requestOf(message))
  if (call) call.written = true
})
subscribe('undici:request:headers', (message) => {
  const call = callOf.get(requestOf(message))
  // A proxy that wants other credentials has passed nothing on: RFC 9110, section 15.5.8.
  if (call && (message as { response: { statusCode: number } }).response.statusCode === 407) call.written = false
})

function requestOf(message: unknown): { method: string } {
  return (message as { request: { method: string } }).request
}

/** fetch hides the system's error in the cause of its own. */
function systemCode(error: unknown): string {
  const cause = error instanceof Error && error.cause !== undefined ? error.cause : error
  return cause instanceof Error && 'code' in cause && typeof cause.code === 'string' ? cause.code : 'CONNECTION_FAILED'
}

/** RFC 9110, section 10.2.3: seconds, or a date. */
function retryAfterMs(value: string | undefined): number | undefined {
  if (value === undefined) return undefined
  const ms = /^\d+$/.test(value) ? Number(value) * 1_000 : Date.parse(value) - Date.now()
  return Number.isNaN(ms) ? undefined : Math.max(0, ms)
}
