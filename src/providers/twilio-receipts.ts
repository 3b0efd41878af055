import twilio from 'twilio'
import { validate as isUuid } from 'uuid'
import type { DeliveryStatus } from '../domain/challenge.ts'
import type { ReceiptReader } from './receipts.ts'

export interface TwilioReceiptsConfig {
  accountSid: string
  /** By name; several while one is rotated. */
  authTokens: Readonly<Record<string, string>>
  /** What Twilio was told, without path: signatures are over the whole URL, and headers may say anything. */
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

/** https://www.twilio.com/docs/voice/api/call-resource#call-status-values: once answered, the code is said. */
const CALL_STATUS: Record<string, DeliveryStatus> = {
  queued: 'ACCEPTED',
  initiated: 'SENT',
  ringing: 'SENT',
  'in-progress': 'DELIVERED',
  completed: 'DELIVERED',
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

export const TWILIO_MESSAGES_PATH = '/webhooks/twilio/messages'
export const TWILIO_CALLS_PATH = '/webhooks/twilio/calls'

/** Receipts of text messages: https://www.twilio.com/docs/messaging/guides/track-outbound-message-status */
export function twilioMessageReceipts(config: TwilioReceiptsConfig): ReceiptReader {
  const names = { id: 'MessageSid', status: 'MessageStatus' }
  return twilioReceipts(config, TWILIO_MESSAGES_PATH, 'twilio-sms', names, MESSAGE_STATUS)
}

/** Receipts of calls: https://www.twilio.com/docs/voice/api/call-resource#statuscallback */
export function twilioCallReceipts(config: TwilioReceiptsConfig): ReceiptReader {
  const names = { id: 'CallSid', status: 'CallStatus' }
  return twilioReceipts(config, TWILIO_CALLS_PATH, 'twilio-voice', names, CALL_STATUS)
}

function twilioReceipts(
  { accountSid, authTokens, publicUrl }: TwilioReceiptsConfig,
  path: string,
  provider: string,
  names: { id: string; status: string },
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
      // Before anything that costs more: nobody but Twilio gets beyond it.
      const keyName = Object.keys(authTokens).find((name) => {
        const token = authTokens[name]
        return token && urls.some((url) => twilio.validateRequest(token, signature, url, form))
      })
      const vendorStatus = params.get(names.status) ?? ''
      const providerChallengeId = params.get(names.id) ?? ''
      const errorCode = params.get('ErrorCode')
      const isOurs =
        keyName !== undefined &&
        isUnambiguous(params) &&
        params.get('AccountSid') === accountSid &&
        SID.test(providerChallengeId) &&
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

const SID = /^[A-Z]{2}[0-9a-f]{32}$/
const STATUS = /^[a-z-]{1,40}$/
const ERROR_CODE = /^[0-9]{0,6}$/
/** Twilio sends some twenty. */
const MAX_PARAMS = 100
/** What we read of a receipt. */
const NAMES = ['AccountSid', 'MessageSid', 'MessageStatus', 'CallSid', 'CallStatus', 'ErrorCode']

/**
 * Twilio signs URL, names and values one after the other with nothing between them, so letters can be moved from one to
 * another under the same signature (https://www.twilio.com/docs/usage/security). What we rely on must stand where it belongs.
 */
function isUnambiguous(params: URLSearchParams): boolean {
  const names = [...params.keys()].sort()
  const signed = names.map((name) => name + params.get(name)).join('')
  return (
    new Set(names).size === names.length &&
    // Twilio's names begin with a capital: a letter moved out of a status or a code would begin one that doesn't.
    names.every((name) => /^[A-Z][A-Za-z0-9]*$/.test(name)) &&
    NAMES.every((known) => signed.split(known).length - 1 === Number(params.has(known)))
  )
}

/** The call that a target names, when it is exactly as we told the vendor. */
function callIn(target: string): { challengeId: string; attempt: number } | undefined {
  const [, challengeId = '', attempt = ''] = /\?challenge=([0-9a-f-]{36})&attempt=([1-9][0-9]{0,2})$/.exec(target) ?? []
  return isUuid(challengeId) ? { challengeId, attempt: Number(attempt) } : undefined
}
