import { matching, TOKEN } from '../../settings.ts'
import { defineVendor } from '../vendor.ts'
import { vonageReceipts } from './vonage-receipts.ts'
import { createVonageSms } from './vonage-sms.ts'

/** https://www.twilio.com/docs/glossary/what-is-alphanumeric-sender-id holds for Vonage as well. */
const SENDER = matching(
  /^(\+[1-9]\d{1,14}|(?=.*[A-Za-z])[A-Za-z0-9 ]{1,11})$/,
  'an E.164 number, or a sender id of up to 11 letters, digits and spaces with at least one letter',
)

export const vonage = defineVendor({
  name: 'vonage',
  title: 'Vonage',
  credentials: 'VONAGE_*',
  secrets: {
    apiKey: { name: 'VONAGE_API_KEY', field: 'api-key', rule: TOKEN, need: 'always' },
    apiSecret: { name: 'VONAGE_API_SECRET', field: 'api-secret', rule: TOKEN, need: 'always' },
    from: { name: 'VONAGE_FROM', field: 'from', rule: SENDER, need: 'always' },
    signatureSecret: { name: 'VONAGE_SIGNATURE_SECRET', field: 'signature-secret', rule: TOKEN, need: 'for receipts' },
  },
  timeoutSetting: 'VONAGE_TIMEOUT_SECONDS',
  configure({ apiKey, apiSecret, from, signatureSecret }, { setting, url }) {
    const apiUrl = setting('VONAGE_API_URL', url, 'https://api.nexmo.com')
    return apiKey && apiSecret && from ? { apiKey, apiSecret, signatureSecret, from, apiUrl } : undefined
  },
  providers: (config, means) => [createVonageSms({ ...config, ...means })],
  receiptReaders: ({ apiKey, signatureSecret }) =>
    signatureSecret ? [vonageReceipts({ apiKey, signatureSecret })] : [],
})
