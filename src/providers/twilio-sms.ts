import type { FailureClass } from '../domain/delivery.ts'
import type { SignatureProvider } from './provider.ts'
import { smsText } from './texts.ts'
import { createTwilioProvider, type TwilioConfig } from './twilio.ts'
import { TWILIO_MESSAGES_PATH } from './twilio-receipts.ts'

export interface TwilioSmsConfig extends TwilioConfig {
  /** An E.164 number, a short code, an alphanumeric sender id or a Messaging Service's SID. */
  fromNumber: string
}

const MESSAGING_SERVICE = /^MG[0-9a-f]{32}$/i

/** https://www.twilio.com/docs/api/errors */
const MEANING: Record<number, FailureClass> = {
  21211: 'recipient', // not a valid phone number
  21217: 'recipient', // does not appear to be a valid phone number
  21265: 'recipient', // a short code
  21408: 'recipient', // no permission to send to this region
  21610: 'recipient', // has replied STOP
  21612: 'recipient', // not reachable from our number
  21614: 'recipient', // not a mobile number
  21635: 'recipient', // a landline
  21611: 'ours', // our number's queue is full, which no retry within seconds helps, though it comes as a 429
}

/** Twilio accepts 1 to 36,000 seconds, and by default keeps trying for the longest: 10 hours. */
const MIN_VALIDITY_SECONDS = 1

/** Text messages over Twilio's Messages API: https://www.twilio.com/docs/messaging/api/message-resource */
export function createTwilioSms(config: TwilioSmsConfig): SignatureProvider {
  const { fromNumber } = config
  const sender = MESSAGING_SERVICE.test(fromNumber) ? { messagingServiceSid: fromNumber } : { from: fromNumber }
  return createTwilioProvider(config, {
    name: 'twilio-sms',
    channel: 'SMS',
    meanings: MEANING,
    receiptsPath: TWILIO_MESSAGES_PATH,
    create: (client, { phone, code, transaction, locale }, secondsLeft, callback) =>
      client.messages.createWithHttpInfo({
        to: phone,
        ...sender,
        body: smsText(code, transaction, locale, secondsLeft),
        validityPeriod: Math.max(MIN_VALIDITY_SECONDS, secondsLeft),
        ...callback,
      }),
  })
}
