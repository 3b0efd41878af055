import twilio from 'twilio'
import type { DeliveryStatus } from '../../domain/challenge.ts'
import type { ReceiptReader } from '../receipt-reader.ts'
import { callIn } from '../webhook-url.ts'
import { spokenTwiml } from './speech.ts'
import { TWILIO_SID } from './twilio-sid.ts'

export interface TwilioReceiptsConfig {
  accountSid: string
  /** By name; several while one is rotated. */
  authTokens: Readonly<Record<string, string>>
  /** The URL given to Twilio, without path: signatures are over the whole URL, and headers can be forged. */
  publicUrl: string
}

/** https://www.twilio.com/docs/messaging/api/message-resource#message-status-values */
const MESSAGE_STATUS: Record<string, DeliveryStatus> = {
  accepted: 'ACCEPTED',
  scheduled: 'ACCEPTED',
  queued: 'ACCEPTED',
  sending: 'ACCEPTED',
  sent: 'SENT',
  delivered: 'DELIVERED',
  read: 'DELIVERED',
  undelivered: 'UNDELIVERED',
  failed: 'UNDELIVERED',
  canceled: 'UNDELIVERED',
}

/**
 * https://www.twilio.com/docs/voice/api/call-resource#call-status-values. A call asks for a key first, so one
 * that is over has delivered nothing unless the key was pressed before.
 */
const CALL_STATUS: Record<string, DeliveryStatus> = {
  queued: 'ACCEPTED',
  initiated: 'SENT',
  ringing: 'SENT',
  'in-progress': 'SENT',
  completed: 'UNDELIVERED',
  busy: 'UNDELIVERED',
  'no-answer': 'UNDELIVERED',
  failed: 'UNDELIVERED',
  canceled: 'UNDELIVERED',
}

/**
 * Asks Twilio to send a receipt up to five more times after whatever goes wrong; by default it does so once, and only when
 * it can't connect. It isn't sent: https://www.twilio.com/docs/usage/webhooks/webhooks-connection-overrides
 */
export const TWILIO_RETRIES = '#rc=5&rp=all'

/** The key that makes the call say the code. */
const KEY_STATUS: Record<string, DeliveryStatus> = { 'key-1': 'DELIVERED' }

export const TWILIO_MESSAGES_PATH = '/webhooks/twilio/messages'
export const TWILIO_CALLS_PATH = '/webhooks/twilio/calls'
export const TWILIO_KEYS_PATH = '/webhooks/twilio/keys'

/** Receipts of text messages: https://www.twilio.com/docs/messaging/guides/track-outbound-message-status */
export function twilioMessageReceipts(config: TwilioReceiptsConfig): ReceiptReader {
  return twilioReceipts(config, TWILIO_MESSAGES_PATH, 'twilio-sms', 'MessageSid', 'MessageStatus', MESSAGE_STATUS)
}

/** Receipts of calls: https://www.twilio.com/docs/voice/api/call-resource#statuscallback */
export function twilioCallReceipts(config: TwilioReceiptsConfig): ReceiptReader {
  return twilioReceipts(config, TWILIO_CALLS_PATH, 'twilio-voice', 'CallSid', 'CallStatus', CALL_STATUS)
}

/**
 * Keys that are pressed in calls, as receipts with the status `key-1`, each answered by the TwiML with which the call goes
 * on: https://www.twilio.com/docs/voice/twiml/gather
 */
export function twilioKeyPresses(config: TwilioReceiptsConfig): ReceiptReader {
  return {
    ...twilioReceipts(config, TWILIO_KEYS_PATH, 'twilio-voice', 'CallSid', 'Digits', KEY_STATUS),
    answer: (spoken) => ({ type: 'text/xml; charset=utf-8', text: spokenTwiml(spoken) }),
  }
}

function twilioReceipts(
  { accountSid, authTokens, publicUrl }: TwilioReceiptsConfig,
  path: string,
  provider: string,
  idName: string,
  statusName: string,
  meanings: Record<string, DeliveryStatus>,
): ReceiptReader {
  return {
    path,
    provider,
    async read({ target, headers, rawBody }) {
      const signature = headers['x-twilio-signature'] ?? ''
      const call = callIn(target)
      const body = rawBody.toString()
      if (!call || body.split('&', MAX_PARAMS + 1).length > MAX_PARAMS) return undefined
      const params = new URLSearchParams(body)
      const form = Object.fromEntries(params)
      // Twilio signs the URL without the fragment, which its documentation does not promise.
      const urls = [publicUrl + target, publicUrl + target + TWILIO_RETRIES]
      // Checked before anything that costs more, so that only Twilio can cause that cost.
      const keyName = Object.keys(authTokens).find((name) => {
        const token = authTokens[name]
        return token && urls.some((url) => twilio.validateRequest(token, signature, url, form))
      })
      const status = params.get(statusName) ?? ''
      const vendorStatus = statusName === 'Digits' ? `key-${status}` : status
      const providerChallengeId = params.get(idName) ?? ''
      const errorCode = params.get('ErrorCode')
      const isOurs =
        keyName !== undefined &&
        isUnambiguous(params) &&
        params.get('AccountSid') === accountSid &&
        TWILIO_SID.test(providerChallengeId) &&
        STATUS.test(vendorStatus) &&
        (errorCode === null || ERROR_CODE.test(errorCode))
      if (!isOurs) return undefined
      return {
        ...call,
        provider,
        providerChallengeId,
        vendorStatus,
        deliveryStatus: Object.hasOwn(meanings, vendorStatus) ? meanings[vendorStatus] : undefined,
        providerErrorCode: errorCode || undefined,
        proof: { rawBody, signature, keyName },
      }
    },
  }
}

const STATUS = /^(?:[a-z-]{1,40}|key-[0-9*#])$/
const ERROR_CODE = /^[0-9]{0,6}$/
/** Twilio sends some twenty. */
const MAX_PARAMS = 100
/** What we read of a receipt. */
const NAMES = ['AccountSid', 'MessageSid', 'MessageStatus', 'CallSid', 'CallStatus', 'Digits', 'ErrorCode']

/**
 * Twilio signs URL, names and values one after the other with nothing between them, so letters can be moved from one to
 * another under the same signature (https://www.twilio.com/docs/usage/security). What we rely on must stand where it belongs.
 */
function isUnambiguous(params: URLSearchParams): boolean {
  const names = [...params.keys()].sort()
  const signed = names.map((name) => name + params.get(name)).join('')
  return (
    new Set(names).size === names.length &&
    // Twilio's names begin with a capital, but for the `msg` of a key press: a letter moved out of a status or a code
    // would begin one that doesn't.
    names.every((name) => name === 'msg' || /^[A-Z][A-Za-z0-9]*$/.test(name)) &&
    NAMES.every((known) => signed.split(known).length - 1 === Number(params.has(known)))
  )
}
