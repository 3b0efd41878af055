import { createHmac } from 'node:crypto'
import type { ReceiptPlan, ReceiptRequest } from '../dialect.ts'
import type { TwilioAccount } from './twilio-api.ts'
import { keysUrlOf } from './twiml.ts'

const API_VERSION = '2010-04-01'
/** Unknown error: https://www.twilio.com/docs/api/errors/30008 */
const UNKNOWN_ERROR = 30_008
/** Of a simulated call that was answered. */
const CALL_SECONDS = 12

/** Which of the events that one can ask for a status of a call is; every other status ends it. */
const EVENTS = new Map([
  ['initiated', 'initiated'],
  ['ringing', 'ringing'],
  ['in-progress', 'answered'],
])

/** What Twilio posts to a message's StatusCallback: https://www.twilio.com/docs/messaging/guides/track-outbound-message-status */
export function messageReceipts(account: TwilioAccount, form: URLSearchParams, sid: string): ReceiptPlan {
  const [url, from, service] = ['StatusCallback', 'From', 'MessagingServiceSid'].map((name) => form.get(name))
  return {
    course: [{ status: 'sent' }, { status: 'delivered' }],
    request({ status, errorCode }) {
      if (!url) return undefined
      const hasFailed = status === 'failed' || status === 'undelivered'
      const code = errorCode ?? (hasFailed ? UNKNOWN_ERROR : undefined)
      return signed(account, url, {
        AccountSid: account.accountSid,
        ApiVersion: API_VERSION,
        ...(from && { From: from }),
        To: form.get('To') ?? '',
        MessageSid: sid,
        MessageStatus: status,
        SmsSid: sid,
        SmsStatus: status,
        ...(service && { MessagingServiceSid: service }),
        ...(code && { ErrorCode: String(code) }),
        ...(/^(?:un)?delivered$/.test(status) && { RawDlrDoneDate: minuteDigits(new Date()) }),
      })
    },
    isRetried: retriesOf(url),
  }
}

/**
 * What Twilio posts to a call's StatusCallback, and to the action of a Gather:
 * https://www.twilio.com/docs/voice/api/call-resource#statuscallback
 */
export function callReceipts(account: TwilioAccount, form: URLSearchParams, sid: string): ReceiptPlan {
  const url = form.get('StatusCallback')
  const [to, from] = [form.get('To') ?? '', form.get('From') ?? '']
  const asked = form.getAll('StatusCallbackEvent')
  const wanted = asked.length > 0 ? asked : ['completed']
  const keysUrl = form.get('Url') ? undefined : keysUrlOf(form.get('Twiml') ?? '')
  const common = (status: string) => ({
    AccountSid: account.accountSid,
    ApiVersion: API_VERSION,
    CallSid: sid,
    CallStatus: status,
    From: from,
    Caller: from,
    To: to,
    Called: to,
    Direction: 'outbound-api',
  })
  let sequence = 0
  return {
    course: ['initiated', 'ringing', 'in-progress', 'completed'].map((status) => ({
      status,
      silent: !wanted.includes(EVENTS.get(status) ?? 'completed'),
      afterKey: status === 'completed' && keysUrl !== undefined,
    })),
    keyPress:
      keysUrl === undefined
        ? undefined
        : (key) =>
            signed(account, keysUrl, { ...common('in-progress'), Digits: key, FinishedOnKey: '', msg: 'Gather End' }),
    request({ status, errorCode }) {
      if (!url) return undefined
      const seconds = status === 'completed' ? CALL_SECONDS : 0
      return signed(account, url, {
        ...common(status),
        Timestamp: new Date().toUTCString().replace('GMT', '+0000'),
        CallbackSource: 'call-progress-events',
        SequenceNumber: String(sequence++),
        // The second is in minutes, begun ones counted, as they are billed.
        ...(!EVENTS.has(status) && { CallDuration: String(seconds), Duration: String(Math.ceil(seconds / 60)) }),
        ...(errorCode && { ErrorCode: String(errorCode) }),
      })
    },
    isOver: (status) => !EVENTS.has(status),
    isRetried: retriesOf(url),
  }
}

/**
 * Retries follow the overrides in the callback's fragment: `rc` times after what `rp` names; by default once if nothing listens:
 * https://www.twilio.com/docs/usage/webhooks/webhooks-connection-overrides
 */
function retriesOf(callback: string | null | undefined): ReceiptPlan['isRetried'] {
  const overrides = new URLSearchParams(URL.parse(callback ?? '')?.hash.slice(1))
  const count = Number(overrides.get('rc') ?? 1)
  const policy = (overrides.get('rp') ?? 'ct').split(',')
  return (answer, sent) => {
    const problem = { 'nobody listens': 'ct', 'no answer in time': 'rt' }[answer] ?? `${String(answer)[0]}xx`
    const isProblem = ['ct', 'rt', '4xx', '5xx'].includes(problem)
    return sent <= count && isProblem && (policy.includes('all') || policy.includes(problem))
  }
}

function signed({ authToken }: TwilioAccount, callback: string, params: Record<string, string>): ReceiptRequest {
  // A fragment tells Twilio how to connect and isn't sent: https://www.twilio.com/docs/usage/webhooks/webhooks-connection-overrides
  const url = callback.replace(/#.*/s, '')
  return {
    url,
    headers: {
      'Content-Type': 'application/x-www-form-urlencoded; charset=UTF-8',
      'X-Twilio-Signature': signatureOf(authToken, url, params),
    },
    body: new URLSearchParams(params).toString(),
  }
}

/** Over the URL and then every parameter, by name: https://www.twilio.com/docs/usage/security#validating-requests */
function signatureOf(authToken: string, url: string, params: Record<string, string>): string {
  const sorted = Object.keys(params).sort()
  const signedText = url + sorted.map((name) => name + params[name]).join('')
  return createHmac('sha1', authToken).update(signedText).digest('base64')
}

/** YYMMDDhhmm */
function minuteDigits(date: Date): string {
  return date.toISOString().replaceAll(/\D/g, '').slice(2, 12)
}
