import type { KeyRing } from '../../domain/keys.ts'
import { sealSpokenCode } from '../../domain/spoken-code.ts'
import type { ChallengeMessage, SignatureProvider } from '../provider.ts'
import type { WebhookUrl } from '../webhook-url.ts'
import { callTwiml } from './speech.ts'
import { TWILIO_CALL_ERRORS } from './twilio-errors.ts'
import { createTwilioProvider, type TwilioConfig } from './twilio-provider.ts'
import { TWILIO_CALLS_PATH, TWILIO_KEYS_PATH, TWILIO_RETRIES } from './twilio-receipts.ts'

export interface TwilioVoiceConfig extends TwilioConfig {
  /** The number that is shown as the caller's, E.164. */
  voiceFrom: string
  webhookUrl: WebhookUrl
  /** For personal data, as they are at each call: the code in the URL that Twilio comes back to is sealed with them. */
  piiKeys: () => KeyRing
}

/**
 * Twilio rings for 60 seconds by default, which reaches a mailbox; it names 15 as short enough to hang up before one
 * answers, and may add 5: https://www.twilio.com/docs/voice/api/call-resource. Below 1 is error 21208.
 */
const MAX_RING_SECONDS = 20
const MIN_RING_SECONDS = 1

/**
 * Calls over Twilio's Calls API: https://www.twilio.com/docs/voice/api/call-resource. The call asks for a key; only when it
 * is pressed does Twilio come for the code, so that no mailbox hears it.
 */
export function createTwilioVoice(config: TwilioVoiceConfig): SignatureProvider {
  const keysUrl = ({ challengeId, attempt, code }: ChallengeMessage) => {
    const spokenCode = sealSpokenCode(config.piiKeys(), code, challengeId)
    return config.webhookUrl(TWILIO_KEYS_PATH, { challengeId, attempt, spokenCode }) + TWILIO_RETRIES
  }
  return createTwilioProvider(config, {
    name: 'twilio-voice',
    channel: 'VOICE',
    meanings: TWILIO_CALL_ERRORS,
    receiptsPath: TWILIO_CALLS_PATH,
    text: (message) => callTwiml(message.transaction, message.locale, keysUrl(message)),
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
