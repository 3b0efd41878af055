import { generateKeyPair } from 'node:crypto'
import { promisify } from 'node:util'
import { isObject, parseJson } from '../http.ts'
import { randomHex } from '../random-hex.ts'
import type { SimulatedVendor } from '../simulated-vendor.ts'
import { fcmApi } from './fcm-api.ts'
import { createAccessTokens, googleTokenApi, type ServiceAccount } from './google-token.ts'

interface FcmAccount extends ServiceAccount {
  projectId: string
  /** PKCS #8, PEM. */
  privateKey: string
}

export const fcm = {
  providers: { 'fcm-push': { kind: 'Push', receiptStatuses: [], shows } },
  // For the access token that precedes a push.
  otherCalls: ['fcm-token'],
  /** The RSA key takes from 20 ms to half a second, off the event loop. */
  async createAccount() {
    const { privateKey, publicKey } = await promisify(generateKeyPair)('rsa', {
      modulusLength: 2_048,
      privateKeyEncoding: { type: 'pkcs8', format: 'pem' },
      publicKeyEncoding: { type: 'spki', format: 'pem' },
    })
    const projectId = `sandbox-${randomHex(4)}`
    const clientEmail = `signature-router@${projectId}.iam.gserviceaccount.com`
    return { projectId, clientEmail, privateKey, publicKey }
  },
  settings: ({ projectId, clientEmail, privateKey }, url) => ({
    FCM_SERVICE_ACCOUNT: JSON.stringify({
      type: 'service_account',
      project_id: projectId,
      client_email: clientEmail,
      private_key: privateKey,
      token_uri: `${url}/token`,
    }),
    FCM_API_URL: url,
  }),
  dialects(account: Omit<FcmAccount, 'privateKey'>) {
    const tokens = createAccessTokens()
    return [googleTokenApi(account, tokens), fcmApi(account.projectId, tokens)]
  },
} satisfies SimulatedVendor<FcmAccount>

/** What the app shows of a push once it is unlocked. Data without a text is another app's: it is shown as it is. */
function shows(body: string): string {
  const data = parseJson(body)
  if (!isObject(data) || typeof data.text !== 'string') return body
  return typeof data.code === 'string' ? `${data.text}\nCode: ${data.code}` : data.text
}
