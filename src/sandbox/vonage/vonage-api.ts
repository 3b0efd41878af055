import { randomBytes, randomUUID } from 'node:crypto'
import type { Dialect, Exchange } from '../dialect.ts'
import { type Answer, isBasic, isObject } from '../http.ts'
import { vonageReceipts } from './vonage-receipt-plan.ts'

export interface VonageAccount {
  apiKey: string
  apiSecret: string
  /** Signs receipts; without it they come unsigned. */
  signatureSecret?: string
}

type Check = (value: unknown) => boolean

const SUCCESS = { status: 202, type: 'application/json' }

/** What each code means, as https://developer.vonage.com/api/messages answers it. */
const MEANING = new Map<number | string, [title: string, detail: string]>([
  ['unauthorized', ['You did not provide correct credentials.', "Check that you're using the correct credentials"]],
  ['low-balance', ['Low balance', 'This request could not be performed due to your account balance being low.']],
  ['invalid-json', ['The request body did not contain valid JSON', 'The body must be a JSON object']],
  [1000, ['Throttled', 'You have exceeded the submission capacity allowed on this account. Please wait and retry']],
  [1060, ['Invalid client reference', 'The client reference can be a string of up to 100 characters.']],
  [1100, ['Unsupported channel', 'The specified channel is not supported.']],
  [1120, ['Invalid sender', 'The `from` parameter is invalid for the given channel.']],
  [1140, ['Invalid message type', 'The message type is not supported for the given channel.']],
  [1150, ['Invalid params', 'The value of one or more parameters is invalid.']],
  // The reference's example says #110, a slip; https://developer.vonage.com/api-errors/messages lists it as 1430.
  [1430, ['Invalid recipient', 'The `to` parameter is invalid for the given channel.']],
])

const USUAL_CODE: Record<number, number | string> = {
  401: 'unauthorized',
  402: 'low-balance',
  403: 'forbidden',
  404: 'not-found',
  422: 1150,
  429: 1000,
}

/** The parameters of an SMS that have no code of their own: https://developer.vonage.com/api/messages */
const PARAMETERS: [name: string, isValid: Check, reason: string][] = [
  ['text', (value) => isText(value, 1, 3_200), 'must be 1 to 3200 characters'],
  ['ttl', (value) => value === undefined || isWhole(value, 20, 604_800), 'must be 20 to 604800 seconds'],
  ['webhook_url', (value) => value === undefined || isUrl(value), 'must be a URL'],
  ['sms', (value) => value === undefined || isSmsOptions(value), 'must hold encoding_type text, unicode or auto'],
]

/** Vonage's Messages for SMS, and its account's balance, over plain HTTP. */
export function vonageApi(account: VonageAccount): Dialect {
  const { apiKey, apiSecret } = account
  return {
    success: SUCCESS,
    owns: (path) => path === '/v1/messages' || path.startsWith('/account/'),
    read({ method, path, authorization, json }) {
      const allowed = { '/v1/messages': 'POST', '/account/get-balance': 'GET' }[path]
      if (!allowed) return error(404, undefined, `There is no resource at ${path}`)
      if (!isBasic(authorization, apiKey, apiSecret)) return problem(401, 'unauthorized')
      if (method !== allowed) {
        return { ...error(405, undefined, 'This method is not allowed here'), headers: { Allow: allowed } }
      }
      // https://developer.vonage.com/api/account
      if (method === 'GET') return { status: 200, type: SUCCESS.type, body: { value: 10.28, autoReload: false } }
      return {
        target: 'vonage-sms',
        phone: isObject(json) ? `+${json.to}` : undefined,
        refusal: refusal(json),
        accept: () => accept(json as Record<string, unknown>, account),
      }
    },
    error,
    headers: () => ({ 'X-Request-Id': randomUUID() }),
  }
}

function accept(json: Record<string, unknown>, account: VonageAccount): ReturnType<Exchange['accept']> {
  const { to, from, text } = json
  const sid = randomUUID()
  return {
    answer: { ...SUCCESS, body: { message_uuid: sid } },
    message: {
      sid,
      provider: 'vonage-sms',
      to: `+${to}`,
      from: String(from),
      body: String(text),
      status: 'submitted',
      created_at: new Date().toISOString(),
    },
    plan: vonageReceipts(account, json, sid),
  }
}

/** What Vonage would refuse in this message, if anything. */
function refusal(json: unknown): Answer | undefined {
  if (!isObject(json)) return problem(422, 'invalid-json')
  if (json.channel !== 'sms') return problem(422, 1100)
  if (json.message_type !== 'text') return problem(422, 1140)
  if (typeof json.to !== 'string' || !/^[1-9]\d{6,14}$/.test(json.to)) return problem(422, 1430)
  if (!isSender(json.from)) return problem(422, 1120)
  if (json.client_ref !== undefined && !isText(json.client_ref, 1, 100)) return problem(422, 1060)
  const invalid = PARAMETERS.filter(([name, isValid]) => !isValid(json[name]))
  if (invalid.length === 0) return undefined
  return problem(422, 1150, { invalid_parameters: invalid.map(([name, , reason]) => ({ name, reason })) })
}

function problem(status: number, code: number | string, more: object = {}): Answer {
  const [title, detail] = MEANING.get(code) ?? [`Error ${code}`, '']
  const page = typeof code === 'number' ? 'api-errors/messages' : 'api-errors'
  return {
    status,
    type: 'application/problem+json',
    body: {
      type: `https://developer.vonage.com/${page}#${code}`,
      title,
      detail,
      instance: randomBytes(16).toString('hex'),
      ...more,
    },
  }
}

function error(status: number, code: number | string | undefined, message: string): Answer {
  const usual = USUAL_CODE[status] ?? (status >= 500 ? 1030 : 1150)
  return problem(status, code ?? usual, { detail: message })
}

/** A number as digits, or a name of up to 11 characters: https://developer.vonage.com/messaging/sms/guides/country-specific-features */
function isSender(value: unknown): boolean {
  return typeof value === 'string' && /^(?:[1-9]\d{2,14}|(?=.*[A-Za-z])[A-Za-z\d ]{1,11})$/.test(value)
}

function isSmsOptions(value: unknown): boolean {
  return isObject(value) && ['text', 'unicode', 'auto', undefined].includes(value.encoding_type as string | undefined)
}

function isText(value: unknown, min: number, max: number): boolean {
  return typeof value === 'string' && value.length >= min && value.length <= max
}

function isWhole(value: unknown, min: number, max: number): boolean {
  return Number.isInteger(value) && Number(value) >= min && Number(value) <= max
}

function isUrl(value: unknown): boolean {
  return typeof value === 'string' && /^https?:$/.test(URL.parse(value)?.protocol ?? '')
}
