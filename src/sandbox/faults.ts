import type { ServerResponse } from 'node:http'
import { setTimeout as delay } from 'node:timers/promises'
import { answerError, JSON_TYPE } from './http.ts'

/**
 * What goes wrong with one call. Every fault may wait first (`latencyMs`) and may say that the message had left all the
 * same (`sent`), as Twilio warns of a 500. A fault of `latencyMs` alone is a slow but normal answer.
 */
export type Fault = { latencyMs?: number; sent?: boolean } & (
  | { latencyMs: number }
  /** An error answer in Twilio's JSON; without `code`, Twilio's general code for the status. */
  | { status: number; code?: number; retryAfterSeconds?: number }
  /** This body as it is; the status is 201 unless told. */
  | { body: string; status?: number }
  /** 307 to this address. */
  | { redirect: string }
  /** No answer, ever. */
  | { hang: true }
  /** A TCP reset once the request has been read. */
  | { reset: true }
  /** The headers of a 201, then a byte of the body every 200 ms, for ever. */
  | { drip: true }
)

const HOUR_MS = 3_600_000
const DRIP_INTERVAL_MS = 200
const KINDS = ['status', 'body', 'redirect', 'hang', 'reset', 'drip']

const FIELDS: Record<string, [isValid: (value: unknown) => boolean, expected: string]> = {
  latencyMs: [(value) => isWhole(value, 0, HOUR_MS), `a whole number from 0 to ${HOUR_MS}`],
  sent: [(value) => typeof value === 'boolean', 'true or false'],
  status: [(value) => isWhole(value, 200, 599), 'a whole number from 400 to 599, or from 200 beside a body'],
  code: [(value) => isWhole(value, 1, 99_999), 'a whole number from 1 to 99999'],
  retryAfterSeconds: [(value) => isWhole(value, 0, 86_400), 'a whole number from 0 to 86400'],
  body: [(value) => typeof value === 'string', 'text'],
  redirect: [(value) => typeof value === 'string' && /^https?:\/\/[!-~]+$/.test(value), 'an http or https address'],
  hang: [(value) => value === true, 'true'],
  reset: [(value) => value === true, 'true'],
  drip: [(value) => value === true, 'true'],
}

/** Reads `{"next":[…]}`: the faults, or every problem that it has. */
export function parseFaults(json: string): { faults: Fault[] } | { problems: string[] } {
  let value: unknown
  try {
    value = JSON.parse(json)
  } catch {
    return { problems: ['the body must be JSON'] }
  }
  if (!isObject(value)) return { problems: ['the body must be an object'] }
  const problems = unknownKeys(value, ['next']).map((key) => `${key} is not known`)
  if (!Array.isArray(value.next)) return { problems: [...problems, 'next must be a list of faults'] }
  problems.push(...value.next.flatMap((fault, index) => faultProblems(fault, `next[${index}]`)))
  return problems.length > 0 ? { problems } : { faults: value.next as Fault[] }
}

/** Does what the fault says to this call, its latency aside. False when the fault leaves the call to be answered normally. */
export async function performFault(fault: Fault, response: ServerResponse, signal: AbortSignal): Promise<boolean> {
  if ('hang' in fault) return true
  if ('reset' in fault) {
    response.socket?.resetAndDestroy()
    return true
  }
  if ('redirect' in fault) {
    response.writeHead(307, { Location: fault.redirect }).end()
    return true
  }
  if ('drip' in fault) {
    await drip(response, signal)
    return true
  }
  if ('body' in fault) {
    response.writeHead(fault.status ?? 201, { 'Content-Type': JSON_TYPE }).end(fault.body)
    return true
  }
  if ('status' in fault) {
    const { status, code = generalCode(status), retryAfterSeconds } = fault
    if (retryAfterSeconds !== undefined) response.setHeader('Retry-After', retryAfterSeconds)
    answerError(response, { status, code, message: `Simulated failure with HTTP status ${status}` })
    return true
  }
  return false
}

async function drip(response: ServerResponse, signal: AbortSignal): Promise<void> {
  response.writeHead(201, { 'Content-Type': JSON_TYPE })
  while (!response.destroyed) {
    response.write(' ')
    await delay(DRIP_INTERVAL_MS, undefined, { signal })
  }
}

function generalCode(status: number): number {
  // 20001, 20003 and 20004 are older than Twilio's rule of 20000 + status.
  return { 400: 20001, 401: 20003, 405: 20004 }[status] ?? 20_000 + status
}

function faultProblems(fault: unknown, at: string): string[] {
  if (!isObject(fault)) return [`${at} must be an object`]
  const problems = unknownKeys(fault, Object.keys(FIELDS)).map((key) => `${at}.${key} is not known`)
  for (const [key, [isValid, expected]] of Object.entries(FIELDS)) {
    if (key in fault && !isValid(fault[key])) problems.push(`${at}.${key} must be ${expected}`)
  }
  const kinds = KINDS.filter((kind) => kind in fault && !(kind === 'status' && 'body' in fault))
  if (kinds.length > 1) problems.push(`${at} must be one of ${kinds.join(', ')}, not all`)
  if (kinds.length === 0 && !('latencyMs' in fault)) problems.push(`${at} must have ${KINDS.join(', ')} or latencyMs`)
  const isError = 'status' in fault && !('body' in fault)
  if (isError && isWhole(fault.status, 200, 399)) problems.push(`${at}.status below 400 needs a body`)
  for (const key of ['code', 'retryAfterSeconds']) {
    if (key in fault && !isError) problems.push(`${at}.${key} needs a status and no body`)
  }
  return problems
}

function unknownKeys(value: object, known: string[]): string[] {
  return Object.keys(value).filter((key) => !known.includes(key))
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function isWhole(value: unknown, min: number, max: number): boolean {
  return Number.isInteger(value) && Number(value) >= min && Number(value) <= max
}
