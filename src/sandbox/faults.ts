import type { ServerResponse } from 'node:http'
import { setTimeout as delay } from 'node:timers/promises'
import type { Dialect } from './dialect.ts'
import { isObject, parseJson, send } from './http.ts'
import type { ScriptedReceipt } from './receipt-sender.ts'
import { FAULT_TARGETS, PROVIDERS } from './simulated-vendors.ts'

/**
 * What goes wrong with one call: the next one of `provider`, by default of any provider, and with `to` the next one to that
 * number. Every fault may wait first (`latencyMs`), and may send the message all the same (`sent`), as Twilio warns of a 500.
 * A fault of `latencyMs` alone is a slow but normal answer. A message that was sent, by a normal answer or by `sent`, is
 * followed by just these `receipts` instead of the usual ones.
 */
export type Fault = {
  provider?: string
  to?: string
  latencyMs?: number
  sent?: boolean
  receipts?: ScriptedReceipt[]
} & (
  | { latencyMs: number }
  | { receipts: ScriptedReceipt[] }
  /** An error answer in the vendor's form; without a `code` of the vendor's kind, the vendor's usual one for the status. */
  | { status: number; code?: number | string; retryAfterSeconds?: number }
  /** This body as it is; the status is by default the vendor's for success. */
  | { body: string; status?: number }
  /** 307 to this address. */
  | { redirect: string }
  /** No answer, ever. */
  | { hang: true }
  /** A TCP reset once the request has been read. */
  | { reset: true }
  /** The headers of a success, then a byte of the body every 200 ms, for ever. */
  | { drip: true }
)

const HOUR_MS = 3_600_000
const DRIP_INTERVAL_MS = 200
const KINDS = ['status', 'body', 'redirect', 'hang', 'reset', 'drip']

type Fields = Record<string, [isValid: (value: unknown) => boolean, expected: string]>

const LATENCY: Fields[string] = [(value) => isWhole(value, 0, HOUR_MS), `a whole number from 0 to ${HOUR_MS}`]
const FLAG: Fields[string] = [(value) => typeof value === 'boolean', 'true or false']
const CODE: Fields[string] = [isCode, 'a whole number from 1 to 99999 or a name such as UNAVAILABLE']

const FIELDS: Fields = {
  provider: [(value) => FAULT_TARGETS.includes(value as string), `one of ${FAULT_TARGETS.join(', ')}`],
  to: [(value) => typeof value === 'string' && /^\+[1-9]\d{6,14}$/.test(value), 'a phone number in E.164'],
  latencyMs: LATENCY,
  sent: FLAG,
  receipts: [Array.isArray, 'a list of receipts'],
  status: [(value) => isWhole(value, 200, 599), 'a whole number from 400 to 599, or from 200 beside a body'],
  code: CODE,
  retryAfterSeconds: [(value) => isWhole(value, 0, 86_400), 'a whole number from 0 to 86400'],
  body: [(value) => typeof value === 'string', 'text'],
  redirect: [(value) => typeof value === 'string' && /^https?:\/\/[!-~]+$/.test(value), 'an http or https address'],
  hang: [(value) => value === true, 'true'],
  reset: [(value) => value === true, 'true'],
  drip: [(value) => value === true, 'true'],
}

/** Reads `{"next":[…]}`. Returns the faults, or every problem with them. */
export function parseFaults(json: string): { faults: Fault[] } | { problems: string[] } {
  const value = parseJson(json)
  if (value === undefined) return { problems: ['the body must be JSON'] }
  if (!isObject(value)) return { problems: ['the body must be an object'] }
  const problems = unknownKeys(value, ['next']).map((key) => `${key} is not known`)
  if (!Array.isArray(value.next)) return { problems: [...problems, 'next must be a list of faults'] }
  problems.push(...value.next.flatMap((fault, index) => faultProblems(fault, `next[${index}]`)))
  return problems.length > 0 ? { problems } : { faults: value.next as Fault[] }
}

/** Takes the first fault that fits a call, to that number if it is to one. */
export function takeFault(faults: Fault[], target: string, phone?: string): Fault | undefined {
  // A fault for anybody is for a call that sends, not for the token that is fetched before it.
  const isAnybodys = PROVIDERS.has(target)
  const index = faults.findIndex(
    ({ provider, to }) => (provider ? provider === target : isAnybodys) && (to === undefined || to === phone),
  )
  return index < 0 ? undefined : faults.splice(index, 1)[0]
}

/** Does what the fault says to this call, its latency aside. False when the fault leaves the call to be answered normally. */
export function performFault(
  fault: Fault,
  { success, error }: Dialect,
  response: ServerResponse,
  signal: AbortSignal,
): boolean {
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
    response.writeHead(success.status, { 'Content-Type': success.type })
    drip(response, signal).catch(() => response.destroy())
    return true
  }
  if ('body' in fault) {
    response.writeHead(fault.status ?? success.status, { 'Content-Type': success.type }).end(fault.body)
    return true
  }
  if ('status' in fault) {
    const { status, code, retryAfterSeconds } = fault
    if (retryAfterSeconds !== undefined) response.setHeader('Retry-After', retryAfterSeconds)
    send(response, error(status, code, `Simulated failure with HTTP status ${status}`))
    return true
  }
  return false
}

async function drip(response: ServerResponse, signal: AbortSignal): Promise<void> {
  while (!response.destroyed) {
    response.write(' ')
    await delay(DRIP_INTERVAL_MS, undefined, { signal })
  }
}

function faultProblems(fault: unknown, at: string): string[] {
  if (!isObject(fault)) return [`${at} must be an object`]
  const problems = fieldProblems(fault, FIELDS, at)
  const kinds = KINDS.filter((kind) => kind in fault && !(kind === 'status' && 'body' in fault))
  if (kinds.length > 1) problems.push(`${at} must be one of ${kinds.join(', ')}, not all`)
  if (kinds.length === 0 && !('latencyMs' in fault) && !('receipts' in fault)) {
    problems.push(`${at} must have ${KINDS.join(', ')}, latencyMs or receipts`)
  }
  const isError = 'status' in fault && !('body' in fault)
  if (isError && isWhole(fault.status, 200, 399)) problems.push(`${at}.status below 400 needs a body`)
  for (const key of ['code', 'retryAfterSeconds']) {
    if (key in fault && !isError) problems.push(`${at}.${key} needs a status and no body`)
  }
  return [...problems, ...receiptProblems(fault, kinds, at)]
}

function receiptProblems({ provider, sent, receipts }: Record<string, unknown>, kinds: string[], at: string): string[] {
  if (!Array.isArray(receipts)) return []
  const target = FAULT_TARGETS.find((known) => known === provider)
  const named = target === undefined ? [...PROVIDERS.values()] : [PROVIDERS.get(target)]
  const statuses = named.flatMap((provider) => provider?.receiptStatuses ?? [])
  if (statuses.length === 0) return [`${at}.receipts is not for ${target}, which has none`]
  const known = [...new Set(statuses)]
  const fields: Fields = {
    status: [(value) => known.includes(value as string), `one of ${known.join(', ')}`],
    errorCode: CODE,
    delayMs: LATENCY,
    beforeAnswer: FLAG,
  }
  const unsent = kinds.length > 0 && sent !== true ? [`${at}.receipts needs sent beside ${kinds[0]}`] : []
  const problems = receipts.flatMap((receipt, index) => {
    const receiptAt = `${at}.receipts[${index}]`
    if (!isObject(receipt)) return [`${receiptAt} must be an object`]
    return fieldProblems({ status: undefined, ...receipt }, fields, receiptAt)
  })
  return [...unsent, ...problems]
}

function fieldProblems(value: Record<string, unknown>, fields: Fields, at: string): string[] {
  const invalid = Object.entries(fields).filter(([key, [isValid]]) => key in value && !isValid(value[key]))
  return [
    ...unknownKeys(value, Object.keys(fields)).map((key) => `${at}.${key} is not known`),
    ...invalid.map(([key, [, expected]]) => `${at}.${key} must be ${expected}`),
  ]
}

function unknownKeys(value: object, known: string[]): string[] {
  return Object.keys(value).filter((key) => !known.includes(key))
}

function isWhole(value: unknown, min: number, max: number): boolean {
  return Number.isInteger(value) && Number(value) >= min && Number(value) <= max
}

function isCode(value: unknown): boolean {
  return isWhole(value, 1, 99_999) || (typeof value === 'string' && /^[a-z][\w-]{0,63}$/i.test(value))
}
