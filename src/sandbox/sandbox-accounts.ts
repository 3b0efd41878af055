import { generateKeyPair, randomBytes } from 'node:crypto'
import { promisify } from 'node:util'

/** Credentials of all three vendors, as a sandbox and the adapters that call it need them. */
export interface SandboxAccounts {
  twilio: { accountSid: string; authToken: string; fromNumber: string }
  vonage: { apiKey: string; apiSecret: string; signatureSecret: string; from: string }
  /** The keys are PEM: PKCS #8 and SPKI. */
  fcm: { projectId: string; clientEmail: string; privateKey: string; publicKey: string }
}

/** Makes up credentials that nobody else knows. The RSA key takes from 20 ms to half a second, off the event loop. */
export async function createSandboxAccounts(): Promise<SandboxAccounts> {
  const { privateKey, publicKey } = await promisify(generateKeyPair)('rsa', {
    modulusLength: 2_048,
    privateKeyEncoding: { type: 'pkcs8', format: 'pem' },
    publicKeyEncoding: { type: 'spki', format: 'pem' },
  })
  const projectId = `sandbox-${randomHex(4)}`
  return {
    // The number that Twilio's test credentials may send from: https://www.twilio.com/docs/iam/test-credentials
    twilio: { accountSid: `AC${randomHex(16)}`, authToken: randomHex(16), fromNumber: '+15005550006' },
    vonage: { apiKey: randomHex(4), apiSecret: randomHex(8), signatureSecret: randomHex(32), from: 'Bank' },
    fcm: {
      projectId,
      clientEmail: `signature-router@${projectId}.iam.gserviceaccount.com`,
      privateKey,
      publicKey,
    },
  }
}

/** The service's settings under which it calls a sandbox at `url` that has these accounts. */
export function sandboxSettings({ twilio, vonage, fcm }: SandboxAccounts, url: string): Record<string, string> {
  return {
    TWILIO_ACCOUNT_SID: twilio.accountSid,
    TWILIO_AUTH_TOKEN: twilio.authToken,
    TWILIO_FROM_NUMBER: twilio.fromNumber,
    TWILIO_API_URL: url,
    VONAGE_API_KEY: vonage.apiKey,
    VONAGE_API_SECRET: vonage.apiSecret,
    VONAGE_FROM: vonage.from,
    VONAGE_SIGNATURE_SECRET: vonage.signatureSecret,
    VONAGE_API_URL: url,
    FCM_SERVICE_ACCOUNT: JSON.stringify({
      type: 'service_account',
      project_id: fcm.projectId,
      client_email: fcm.clientEmail,
      private_key: fcm.privateKey,
      token_uri: `${url}/token`,
    }),
    FCM_API_URL: url,
  }
}

function randomHex(bytes: number): string {
  return randomBytes(bytes).toString('hex')
}
