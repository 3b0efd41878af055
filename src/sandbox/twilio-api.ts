import { randomBytes } from 'node:crypto'

/** An error as Twilio tells it: https://www.twilio.com/docs/usage/twilios-response */
export interface TwilioError {
  status: number
  code: number
  message: string
}

/** Numbers with a fixed answer: https://www.twilio.com/docs/iam/test-credentials */
const MAGIC_TO = new Map<string, [code: number, problem: string]>([
  ['+15005550001', [21211, 'is not a valid phone number']],
  ['+15005550002', [21612, 'cannot be reached from this sender']],
  ['+15005550003', [21408, 'is in a region this account may not send to']],
  ['+15005550004', [21610, 'has opted out of messages from this sender']],
  ['+15005550009', [21614, 'is not a mobile number']],
])

const MAGIC_FROM = new Map<string | null, [code: number, problem: string, status?: number]>([
  ['+15005550001', [21212, 'is not a valid sender']],
  ['+15005550007', [21606, 'is not an SMS sender of this account']],
  ['+15005550008', [21611, 'has a full message queue', 429]],
])

const E164 = /^\+[1-9]\d{6,14}$/
const GSM_7 = /^[\f\n\r !-_a-~¡£¤¥§¿ÄÅÆÇÉÑÖØÜßàäåæèéìñòöøùüΓΔΘΛΞΠΣΦΨΩ€]*$/
const GSM_7_TWO_SEPTETS = /[\f^{}\\[~\]|€]/g

/** What Twilio would refuse in this form, or undefined when it would send the message. */
export function refusal(form: URLSearchParams): TwilioError | undefined {
  const to = form.get('To')
  const from = form.get('From')
  const body = form.get('Body')
  if (!to) return refused(21604, 'To is required')
  if (!from && !form.get('MessagingServiceSid')) return refused(21603, 'From or MessagingServiceSid is required')
  if (!body) return refused(21602, 'Body is required')
  if (!E164.test(to)) return refused(21211, `To ${to} is not a valid phone number`)
  if (body.length > 1600) return refused(21617, 'Body is longer than 1600 characters')
  if (!isValidityPeriod(form.get('ValidityPeriod'))) return refused(21624, 'ValidityPeriod must be 1 to 36000 seconds')
  const badFrom = MAGIC_FROM.get(from)
  if (badFrom) return refused(badFrom[0], `From ${from} ${badFrom[1]}`, badFrom[2])
  const badTo = MAGIC_TO.get(to)
  if (badTo) return refused(badTo[0], `To ${to} ${badTo[1]}`)
  return undefined
}

/** The Message resource as Twilio answers it: https://www.twilio.com/docs/messaging/api/message-resource */
export function messageResource(accountSid: string, form: URLSearchParams, createdAt: Date) {
  const sid = newSid('SM')
  const uri = `/2010-04-01/Accounts/${accountSid}/Messages/${sid}`
  const body = form.get('Body') ?? ''
  const serviceSid = form.get('MessagingServiceSid')
  const date = createdAt.toUTCString().replace('GMT', '+0000')
  return {
    account_sid: accountSid,
    api_version: '2010-04-01',
    body,
    date_created: date,
    date_sent: null,
    date_updated: date,
    direction: 'outbound-api',
    error_code: null,
    error_message: null,
    from: form.get('From'),
    messaging_service_sid: serviceSid,
    num_media: '0',
    // A messaging service picks the sender later, so nothing is known of the segments yet.
    num_segments: serviceSid ? '0' : String(segments(body)),
    price: null,
    price_unit: null,
    sid,
    status: serviceSid ? 'accepted' : 'queued',
    subresource_uris: { media: `${uri}/Media.json` },
    to: form.get('To') ?? '',
    uri: `${uri}.json`,
  }
}

/** The Account resource, as far as it tells whether the account may send: https://www.twilio.com/docs/iam/api/account */
export function accountResource(accountSid: string) {
  return { sid: accountSid, friendly_name: 'Sandbox', status: 'active', type: 'Full' }
}

/** The JSON of an error answer. */
export function errorResource({ status, code, message }: TwilioError) {
  return { code, message, more_info: `https://www.twilio.com/docs/errors/${code}`, status }
}

/** An identifier of Twilio's form: two letters and 32 hex digits. */
export function newSid(prefix: 'SM' | 'RQ'): string {
  return prefix + randomBytes(16).toString('hex')
}

function refused(code: number, message: string, status = 400): TwilioError {
  return { status, code, message }
}

function isValidityPeriod(value: string | null): boolean {
  return value === null || (/^\d{1,5}$/.test(value) && Number(value) >= 1 && Number(value) <= 36_000)
}

function segments(body: string): number {
  const isGsm = GSM_7.test(body)
  const units = body.length + (isGsm ? (body.match(GSM_7_TWO_SEPTETS)?.length ?? 0) : 0)
  const [single, multi] = isGsm ? [160, 153] : [70, 67]
  return units <= single ? 1 : Math.ceil(units / multi)
}
