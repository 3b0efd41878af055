import type { SignatureProvider } from '../provider.ts'
import { smsText } from '../texts.ts'
import { TWILIO_MESSAGE_ERRORS } from './twilio-errors.ts'
import { createTwilioProvider, type TwilioConfig } from './twilio-provider.ts'
import { TWILIO_MESSAGES_PATH } from './twilio-receipts.ts'

export interface TwilioSmsConfig extends TwilioConfig {
  /** An E.164 number, a short code, an alphanumeric sender id or a Messaging Service's SID. */
  fromNumber: string
}

const MESSAGING_SERVICE = /^MG[0-9a-f]{32}$/i

/** Twilio accepts 1 to 36,000 seconds, and by default keeps trying for the longest: 10 hours. */
const MIN_VALIDITY_SECONDS = 1

/** Text messages over Twilio's Messages API: https://www.twilio.com/docs/messaging/api/message-resource */
export function createTwilioSms(config: TwilioSmsConfig): SignatureProvider {
  const { fromNumber } = config
  const sender = MESSAGING_SERVICE.test(fromNumber) ? { messagingServiceSid: fromNumber } : { from: fromNumber }
  return createTwilioProvider(config, {
    name: 'twilio-sms',
    channel: 'SMS',
    meanings: TWILIO_MESSAGE_ERRORS,
    receiptsPath: TWILIO_MESSAGES_PATH,
    text: ({ code, transaction, locale }, secondsLeft) => smsText(code, transaction, locale, secondsLeft),
    create: (client, { phone }, text, secondsLeft, callback) =>
      client.messages.createWithHttpInfo({
        to: phone,
        ...sender,
        body: text,
        validityPeriod: Math.max(MIN_VALIDITY_SECONDS, secondsLeft),
        ...callback,
      }),
  })
}
