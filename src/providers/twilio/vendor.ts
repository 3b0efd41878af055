import { matching, TOKEN } from '../../settings.ts'
import { defineVendor } from '../vendor.ts'
import { twilioCallReceipts, twilioKeyPresses, twilioMessageReceipts } from './twilio-receipts.ts'
import { createTwilioSms } from './twilio-sms.ts'
import { readTwilioUrl } from './twilio-url.ts'
import { createTwilioVoice } from './twilio-voice.ts'

/** https://www.twilio.com/docs/glossary/what-is-a-sid */
const sid = (prefix: string) =>
  matching(new RegExp(`^${prefix}[0-9a-fA-F]{32}$`), `${prefix} and 32 hexadecimal digits`)
const PHONE = matching(/^\+[1-9]\d{1,14}$/, 'an E.164 number')
/**
 * What messages are sent from. The characters of a sender id are those of an AlphaSender:
 * https://www.twilio.com/docs/messaging/api/alphasender-resource
 */
const SENDER = matching(
  /^(\+[1-9]\d{1,14}|\d{3,8}|MG[0-9a-fA-F]{32}|(?=.*[A-Za-z])[A-Za-z0-9 +&_-]{1,11})$/,
  "an E.164 number, a short code, a Messaging Service's SID (MG…), or a sender id of up to 11 letters, digits, spaces, +, -, _ and & with at least one letter",
)

const KEY_SID = 'TWILIO_API_KEY_SID'
const KEY_SECRET = 'TWILIO_API_KEY_SECRET'

export const twilio = defineVendor({
  name: 'twilio',
  title: 'Twilio',
  credentials: 'TWILIO_*',
  secrets: {
    accountSid: { name: 'TWILIO_ACCOUNT_SID', field: 'account-sid', rule: sid('AC'), need: 'always' },
    // Receipts are signed with it; calls are made with it where there is no API key.
    authToken: {
      name: 'TWILIO_AUTH_TOKEN',
      field: 'auth-token',
      rule: TOKEN,
      need: { without: [KEY_SID, KEY_SECRET] },
    },
    previousAuthToken: {
      name: 'TWILIO_AUTH_TOKEN_PREVIOUS',
      field: 'auth-token-previous',
      rule: TOKEN,
      need: 'for receipts',
    },
    keySid: { name: KEY_SID, field: 'api-key-sid', rule: sid('SK'), need: { with: [KEY_SECRET] } },
    keySecret: { name: KEY_SECRET, field: 'api-key-secret', rule: TOKEN, need: { with: [KEY_SID] } },
    fromNumber: { name: 'TWILIO_FROM_NUMBER', field: 'from-number', rule: SENDER, need: 'always' },
    voiceFrom: { name: 'TWILIO_VOICE_FROM', field: 'voice-from', rule: PHONE, need: 'never' },
  },
  timeoutSetting: 'TWILIO_TIMEOUT_SECONDS',
  configure({ keySid, keySecret, ...values }, { setting, url, problems }) {
    const apiUrl = readTwilioUrl(setting, url, problems)
    const { accountSid, authToken, previousAuthToken, fromNumber } = values
    const apiKey = keySid && keySecret ? { sid: keySid, secret: keySecret } : undefined
    if (!accountSid || !fromNumber || !(apiKey || authToken)) return undefined
    const voiceFrom = values.voiceFrom ?? PHONE.parse(fromNumber)
    return { accountSid, authToken, previousAuthToken, apiKey, fromNumber, voiceFrom, apiUrl }
  },
  providers({ voiceFrom, ...config }, means) {
    const { webhookUrl } = means
    // A call needs a signed request for its code: a webhook of ours, and the token that Twilio signs with.
    const calls = voiceFrom && webhookUrl && config.authToken
    return [
      createTwilioSms({ ...config, ...means }),
      ...(calls ? [createTwilioVoice({ ...config, ...means, voiceFrom, webhookUrl })] : []),
    ]
  },
  receiptReaders({ accountSid, authToken, previousAuthToken }, publicUrl) {
    if (!authToken) return []
    const config = { accountSid, authTokens: { current: authToken, previous: previousAuthToken ?? '' }, publicUrl }
    return [twilioMessageReceipts(config), twilioCallReceipts(config), twilioKeyPresses(config)]
  },
  restartProblem: (before, after) =>
    Boolean(before.voiceFrom) === Boolean(after.voiceFrom)
      ? undefined
      : 'TWILIO_VOICE_FROM: a number for calls that comes or goes needs a restart',
  withoutWebhooks:
    'there is no twilio-voice without PUBLIC_WEBHOOK_URL: Twilio comes there for the code when the key is pressed',
})
