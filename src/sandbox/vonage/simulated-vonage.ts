import { randomHex } from '../random-hex.ts'
import type { SimulatedVendor } from '../simulated-vendor.ts'
import { type VonageAccount, vonageApi } from './vonage-api.ts'

export const vonage = {
  providers: {
    'vonage-sms': {
      kind: 'Text message',
      // https://developer.vonage.com/en/messages/concepts/messages-status-callbacks
      receiptStatuses: ['submitted', 'delivered', 'rejected', 'undeliverable'],
    },
  },
  createAccount: () => ({
    apiKey: randomHex(4),
    apiSecret: randomHex(8),
    signatureSecret: randomHex(32),
    from: 'Bank',
  }),
  settings: ({ apiKey, apiSecret, signatureSecret, from }, url) => ({
    VONAGE_API_KEY: apiKey,
    VONAGE_API_SECRET: apiSecret,
    VONAGE_FROM: from,
    VONAGE_SIGNATURE_SECRET: signatureSecret,
    VONAGE_API_URL: url,
  }),
  dialects: (account: VonageAccount) => [vonageApi(account)],
} satisfies SimulatedVendor<{ apiKey: string; apiSecret: string; signatureSecret: string; from: string }>
