import type { SignatureProvider } from './provider.ts'
import { voiceTwiml } from './texts.ts'
import { createTwilioProvider, type TwilioConfig } from './twilio.ts'
import { TWILIO_CALL_ERRORS } from './twilio-errors.ts'
import { TWILIO_CALLS_PATH } from './twilio-receipts.ts'

export interface TwilioVoiceConfig extends TwilioConfig {
  /** The number that is shown as the caller's, E.164. */
  voiceFrom: string
}

/**
 * Twilio rings for 60 seconds by default, which reaches a mailbox; it names 15 as short enough to hang up before one
 * answers, and may add 5: https://www.twilio.com/docs/voice/api/call-resource. Below 1 is error 21208.
 */
const MAX_RING_SECONDS = 20
const MIN_RING_SECONDS = 1

/** Calls over Twilio's Calls API: https://www.twilio.com/docs/voice/api/call-resource */
export function createTwilioVoice(config: TwilioVoiceConfig): SignatureProvider {
  return createTwilioProvider(config, {
    name: 'twilio-voice',
    channel: 'VOICE',
    meanings: TWILIO_CALL_ERRORS,
    receiptsPath: TWILIO_CALLS_PATH,
    text: ({ code, transaction, locale }) => voiceTwiml(code, transaction, locale),
    create: (client, { phone }, text, secondsLeft, callback) =>
      client.calls.createWithHttpInfo({
        to: phone,
        from: config.voiceFrom,
        twiml: text,
        timeout: Math.min(MAX_RING_SECONDS, Math.max(MIN_RING_SECONDS, secondsLeft)),
        ...callback,
        ...(callback.statusCallback && { statusCallbackEvent: ['initiated', 'answered', 'completed'] }),
      }),
  })
}
