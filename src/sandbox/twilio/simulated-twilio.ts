import { randomHex } from '../random-hex.ts'
import type { SimulatedVendor } from '../simulated-vendor.ts'
import { type TwilioAccount, twilioApi } from './twilio-api.ts'

export const twilio = {
  providers: {
    'twilio-sms': {
      kind: 'Text message',
      // https://www.twilio.com/docs/messaging/api/message-resource#message-status-values
      receiptStatuses: ['accepted', 'queued', 'sending', 'sent', 'delivered', 'undelivered', 'failed', 'canceled'],
    },
    'twilio-voice': {
      kind: 'Call',
      // https://www.twilio.com/docs/voice/api/call-resource#call-status-values
      receiptStatuses: ['initiated', 'ringing', 'in-progress', 'completed', 'busy', 'no-answer', 'failed', 'canceled'],
    },
  },
  createAccount: () => ({
    accountSid: `AC${randomHex(16)}`,
    authToken: randomHex(16),
    // The number that Twilio's test credentials may send from: https://www.twilio.com/docs/iam/test-credentials
    fromNumber: '+15005550006',
  }),
  settings: ({ accountSid, authToken, fromNumber }, url) => ({
    TWILIO_ACCOUNT_SID: accountSid,
    TWILIO_AUTH_TOKEN: authToken,
    TWILIO_FROM_NUMBER: fromNumber,
    TWILIO_API_URL: url,
  }),
  dialects: (account: TwilioAccount) => [twilioApi(account)],
} satisfies SimulatedVendor<{ accountSid: string; authToken: string; fromNumber: string }>
