import { randomBytes } from 'node:crypto'
import type { Dialect, Exchange, SimulatedMessage } from '../dialect.ts'
import { type Answer, isBasic } from '../http.ts'
import { callReceipts, messageReceipts } from './twilio-receipt-plan.ts'
import { callRefusal, messageRefusal, type Refusal } from './twilio-rules.ts'
import { textOfTwiml } from './twiml.ts'

export interface TwilioAccount {
  accountSid: string
  authToken: string
  /** One that may do everything but read the account, as Twilio's standard keys. */
  apiKey?: { sid: string; secret: string }
}

const JSON_TYPE = 'application/json;charset=utf-8'
const PATH = /^\/2010-04-01\/Accounts\/([^/]*?)(\/Messages|\/Calls|\/IncomingPhoneNumbers)?\.json$/
const GSM_7 = /^[\f\n\r !-_a-~¡£¤¥§¿ÄÅÆÇÉÑÖØÜßàäåæèéìñòöøùüΓΔΘΛΞΠΣΦΨΩ€]*$/
const GSM_7_TWO_SEPTETS = /[\f^{}\\[~\]|€]/g

/** Twilio's Messages and Calls, and its account's state and empty list of numbers, over plain HTTP. */
export function twilioApi({ accountSid, authToken, apiKey }: TwilioAccount): Dialect {
  return {
    success: { status: 201, type: JSON_TYPE },
    owns: (path) => path.startsWith('/2010-04-01/'),
    read({ method, path, authorization, form }) {
      const [, account, list] = PATH.exec(path) ?? []
      if (account === undefined) return error(404, undefined, `There is no resource at ${path}`)
      const mayAsKey = list !== undefined && apiKey && isBasic(authorization, apiKey.sid, apiKey.secret)
      if (!mayAsKey && !isBasic(authorization, accountSid, authToken)) {
        const headers = { 'WWW-Authenticate': 'Basic realm="Twilio API"' }
        return withHeaders(error(401, undefined, 'The account SID or the auth token is wrong'), headers)
      }
      const allowed = list === '/Messages' || list === '/Calls' ? 'POST' : 'GET'
      if (method !== allowed) {
        return withHeaders(error(405, undefined, 'This method is not allowed here'), { Allow: allowed })
      }
      const stranger = account === accountSid ? undefined : error(404, undefined, `There is no resource at ${path}`)
      if (list === '/Messages') return exchange('twilio-sms', form, stranger ?? refuse(messageRefusal(form)))
      if (list === '/Calls') return exchange('twilio-voice', form, stranger ?? refuse(callRefusal(form)))
      const body = list ? { incoming_phone_numbers: [] } : accountResource(accountSid)
      return stranger ?? { status: 200, type: JSON_TYPE, body }
    },
    error,
    headers: (startedMs) => ({
      'Twilio-Request-Id': newSid('RQ'),
      'Twilio-Concurrent-Requests': '1',
      'Twilio-Request-Duration': ((performance.now() - startedMs) / 1_000).toFixed(3),
    }),
  }

  function exchange(target: 'twilio-sms' | 'twilio-voice', form: URLSearchParams, refusal?: Answer): Exchange {
    return {
      target,
      phone: form.get('To') ?? undefined,
      refusal,
      accept() {
        const createdAt = new Date()
        const resource = target === 'twilio-sms' ? messageResource(form, createdAt) : callResource(form)
        const message: SimulatedMessage = {
          sid: resource.sid,
          provider: target,
          to: resource.to,
          from: form.get('From') ?? form.get('MessagingServiceSid') ?? '',
          body: target === 'twilio-sms' ? (form.get('Body') ?? '') : spoken(form),
          status: resource.status,
          created_at: createdAt.toISOString(),
        }
        const receipts = target === 'twilio-sms' ? messageReceipts : callReceipts
        const plan = receipts({ accountSid, authToken }, form, resource.sid)
        return { answer: { status: 201, type: JSON_TYPE, body: resource }, message, plan }
      },
    }
  }

  /** The Message resource as Twilio answers it: https://www.twilio.com/docs/messaging/api/message-resource */
  function messageResource(form: URLSearchParams, createdAt: Date) {
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

  /** The Call resource as Twilio answers it, its dates still empty: https://www.twilio.com/docs/voice/api/call-resource */
  function callResource(form: URLSearchParams) {
    const sid = newSid('CA')
    const uri = `/2010-04-01/Accounts/${accountSid}/Calls/${sid}`
    const [to, from] = [form.get('To') ?? '', form.get('From') ?? '']
    return {
      account_sid: accountSid,
      annotation: null,
      answered_by: null,
      api_version: '2010-04-01',
      caller_name: null,
      date_created: null,
      date_updated: null,
      direction: 'outbound-api',
      duration: null,
      end_time: null,
      forwarded_from: null,
      from,
      from_formatted: formatted(from),
      group_sid: null,
      parent_call_sid: null,
      phone_number_sid: newSid('PN'),
      price: null,
      price_unit: 'USD',
      queue_time: '0',
      sid,
      start_time: null,
      status: 'queued',
      subresource_uris: { notifications: `${uri}/Notifications.json`, recordings: `${uri}/Recordings.json` },
      to,
      to_formatted: formatted(to),
      trunk_sid: null,
      uri: `${uri}.json`,
    }
  }
}

/** An error as Twilio reports it, its code also in a header: https://www.twilio.com/docs/usage/twilios-response */
function error(status: number, wanted: number | string | undefined, message: string): Answer {
  const code = typeof wanted === 'number' ? wanted : generalCode(status)
  return {
    status,
    type: JSON_TYPE,
    headers: { 'X-Twilio-Error-Code': String(code) },
    body: { code, message, more_info: `https://www.twilio.com/docs/errors/${code}`, status },
  }
}

function refuse(refusal: Refusal | undefined): Answer | undefined {
  return refusal && error(refusal.status ?? 400, refusal.code, refusal.message)
}

function withHeaders(answer: Answer, headers: Record<string, string>): Answer {
  return { ...answer, headers: { ...answer.headers, ...headers } }
}

function generalCode(status: number): number {
  // 20001, 20003 and 20004 are older than Twilio's rule of 20000 + status.
  return { 400: 20001, 401: 20003, 405: 20004 }[status] ?? 20_000 + status
}

/** The part of the Account resource that shows if the account may send: https://www.twilio.com/docs/iam/api/account */
function accountResource(accountSid: string) {
  return { sid: accountSid, friendly_name: 'Sandbox', status: 'active', type: 'Full' }
}

/** Nothing where Twilio would fetch the TwiML from elsewhere. */
function spoken(form: URLSearchParams): string {
  return form.get('Url') ? '' : (textOfTwiml(form.get('Twiml') ?? '') ?? '')
}

/** An identifier of Twilio's form: two letters and 32 hex digits. */
function newSid(prefix: 'SM' | 'CA' | 'PN' | 'RQ'): string {
  return prefix + randomBytes(16).toString('hex')
}

function formatted(phone: string): string {
  return phone.replace(/^\+1(\d{3})(\d{3})(\d{4})$/, '($1) $2-$3')
}

function segments(body: string): number {
  const isGsm = GSM_7.test(body)
  const units = body.length + (isGsm ? (body.match(GSM_7_TWO_SEPTETS)?.length ?? 0) : 0)
  const [single, multi] = isGsm ? [160, 153] : [70, 67]
  return units <= single ? 1 : Math.ceil(units / multi)
}
