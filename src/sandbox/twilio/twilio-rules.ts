import { textOfTwiml } from './twiml.ts'

/** Why Twilio would not send; the status is 400 by default. */
export interface Refusal {
  code: number
  message: string
  status?: number
}

type Magic = Map<string | null, [code: number, problem: string, status?: number]>

/** Numbers with a fixed answer: https://www.twilio.com/docs/iam/test-credentials */
const MESSAGE_TO: Magic = new Map([
  ['+15005550001', [21211, 'is not a valid phone number']],
  ['+15005550002', [21612, 'cannot be reached from this sender']],
  ['+15005550003', [21408, 'is in a region this account may not send to']],
  ['+15005550004', [21610, 'has opted out of messages from this sender']],
  ['+15005550009', [21614, 'is not a mobile number']],
])

const MESSAGE_FROM: Magic = new Map<string, [number, string, number?]>([
  ['+15005550001', [21212, 'is not a valid sender']],
  ['+15005550007', [21606, 'is not an SMS sender of this account']],
  ['+15005550008', [21611, 'has a full message queue', 429]],
])

const CALL_TO: Magic = new Map([
  ['+15005550001', [21217, 'does not appear to be a valid phone number']],
  ['+15005550002', [21214, 'cannot be reached']],
  ['+15005550003', [21215, 'is in a region this account may not call']],
  ['+15005550004', [21216, 'may not be called by this account']],
])

const CALL_FROM: Magic = new Map([['+15005550001', [21212, 'is not a valid caller id']]])

const E164 = /^\+[1-9]\d{6,14}$/
const MAX_TWIML_CHARACTERS = 4_000

/** What Twilio would refuse in this message, if anything. */
export function messageRefusal(form: URLSearchParams): Refusal | undefined {
  const [to, from, body] = [form.get('To'), form.get('From'), form.get('Body')]
  if (!to) return { code: 21604, message: 'To is required' }
  if (!from && !form.get('MessagingServiceSid')) {
    return { code: 21603, message: 'From or MessagingServiceSid is required' }
  }
  if (!body) return { code: 21602, message: 'Body is required' }
  if (!E164.test(to)) return { code: 21211, message: `To ${to} is not a valid phone number` }
  if (to === from) return { code: 21266, message: 'To and From are the same' }
  if (body.length > 1600) return { code: 21617, message: 'Body is longer than 1600 characters' }
  if (!isSeconds(form.get('ValidityPeriod'), 36_000)) {
    return { code: 21624, message: 'ValidityPeriod must be 1 to 36000 seconds' }
  }
  return callbackRefusal(form) ?? magic(MESSAGE_FROM, 'From', from) ?? magic(MESSAGE_TO, 'To', to)
}

/** What Twilio would refuse in this call, if anything: https://www.twilio.com/docs/voice/api/call-resource */
export function callRefusal(form: URLSearchParams): Refusal | undefined {
  const [to, from, url, twiml] = ['To', 'From', 'Url', 'Twiml'].map((name) => form.get(name))
  if (!to) return { code: 21201, message: 'To is required' }
  if (!from) return { code: 21213, message: 'From is required' }
  if (!url && !twiml) return { code: 21205, message: 'Url or Twiml is required' }
  if (!E164.test(to)) return { code: 21211, message: `To ${to} is not a valid phone number` }
  if (!E164.test(from)) return { code: 21212, message: `From ${from} is not a valid caller id` }
  // Beside a Url the TwiML is ignored.
  const instructions = url ? urlRefusal(url) : twimlRefusal(twiml ?? '')
  if (instructions) return instructions
  if (!isSeconds(form.get('Timeout'), 600)) return { code: 21208, message: 'Timeout must be 1 to 600 seconds' }
  return callbackRefusal(form) ?? magic(CALL_FROM, 'From', from) ?? magic(CALL_TO, 'To', to)
}

function urlRefusal(url: string): Refusal | undefined {
  return isUrl(url) ? undefined : { code: 21205, message: 'Url is not valid' }
}

/** https://www.twilio.com/docs/api/errors/21609 */
function callbackRefusal(form: URLSearchParams): Refusal | undefined {
  const url = form.get('StatusCallback')
  return !url || isUrl(url) ? undefined : { code: 21609, message: 'StatusCallback is not a valid URL' }
}

function isUrl(value: string): boolean {
  return /^https?:$/.test(URL.parse(value)?.protocol ?? '')
}

/** Twilio documents no code for TwiML that is too long, and notes bad TwiML only in the call's log: here both fail at once. */
function twimlRefusal(twiml: string): Refusal | undefined {
  if (twiml.length > MAX_TWIML_CHARACTERS) {
    return { code: 21200, message: `Twiml is longer than ${MAX_TWIML_CHARACTERS} characters` }
  }
  return textOfTwiml(twiml) === undefined ? { code: 12100, message: 'Twiml is not a well-formed Response' } : undefined
}

function magic(numbers: Magic, name: string, value: string | null): Refusal | undefined {
  const [code, problem, status = 400] = numbers.get(value) ?? []
  return code ? { code, message: `${name} ${value} ${problem}`, status } : undefined
}

function isSeconds(value: string | null, max: number): boolean {
  return value === null || (/^\d{1,5}$/.test(value) && Number(value) >= 1 && Number(value) <= max)
}
