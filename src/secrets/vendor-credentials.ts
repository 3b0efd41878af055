import { createPrivateKey } from 'node:crypto'
import type { SecretName } from './secret-source.ts'
import { httpUrl, matching, type Rule } from './settings.ts'

/** The secrets of each vendor: all of them or none. */
export const VENDOR_SECRETS = {
  Twilio: ['TWILIO_ACCOUNT_SID', 'TWILIO_AUTH_TOKEN', 'TWILIO_FROM_NUMBER'],
  Vonage: ['VONAGE_API_KEY', 'VONAGE_API_SECRET', 'VONAGE_FROM'],
  Firebase: ['FCM_SERVICE_ACCOUNT'],
} as const satisfies Record<string, SecretName[]>

export const ACCOUNT_SID = matching(/^AC[0-9a-fA-F]{32}$/, 'AC and 32 hexadecimal digits')
export const TOKEN = matching(/^[!-~]+$/, 'a token without white space')
/** A sender of text messages, with Twilio and Vonage alike: https://www.twilio.com/docs/glossary/what-is-alphanumeric-sender-id */
export const SENDER = matching(
  /^(\+[1-9]\d{1,14}|(?=.*[A-Za-z])[A-Za-z0-9 ]{1,11})$/,
  'an E.164 number, or a sender id of up to 11 letters, digits and spaces with at least one letter',
)

/** What a Google service account signs its requests with. */
export interface ServiceAccount {
  readonly projectId: string
  readonly clientEmail: string
  /** A secret, PKCS #8 in PEM. */
  readonly privateKey: string
  readonly tokenUri: string
}

/** The JSON key file of a Google service account: https://cloud.google.com/iam/docs/keys-create-delete */
export function serviceAccount(production: boolean): Rule<ServiceAccount> {
  const url = httpUrl(production ? 'nowhere' : 'anywhere')
  return {
    mustBe: `the JSON key of a Google service account: project_id, client_email, private_key, token_uri (${url.mustBe})`,
    parse(text) {
      const { project_id, client_email, private_key, token_uri } = parseJson(text)
      const tokenUri = url.parse(token_uri ?? '')
      if (!/^[a-z0-9-]+$/.test(project_id ?? '') || !client_email || !isPrivateKey(private_key ?? '') || !tokenUri) {
        return undefined
      }
      return { projectId: project_id ?? '', clientEmail: client_email, privateKey: private_key ?? '', tokenUri }
    },
  }
}

function parseJson(text: string): Record<string, string | undefined> {
  try {
    const value: unknown = JSON.parse(text)
    const fields = typeof value === 'object' && value !== null ? Object.entries(value) : []
    return Object.fromEntries(fields.filter(([, field]) => typeof field === 'string'))
  } catch {
    return {}
  }
}

function isPrivateKey(pem: string): boolean {
  try {
    return createPrivateKey(pem).asymmetricKeyType === 'rsa'
  } catch {
    return false
  }
}
