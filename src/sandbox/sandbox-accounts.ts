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

function randomHex(bytes: number): string {
  return randomBytes(bytes).toString('hex')
}
