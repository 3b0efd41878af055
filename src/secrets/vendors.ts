import { googleCredentials, PROJECT_ID } from '../providers/fcm/google-credentials.ts'
import { readTwilio, readTwilioUrl } from '../providers/twilio/twilio-settings.ts'
import { httpUrl, matching, type SettingReader, TOKEN } from '../settings.ts'
import type { SecretName } from './secret-source.ts'
import type { Secrets } from './secrets.ts'

/** The credentials of each vendor. It is there when any of them is. */
const CREDENTIALS = {
  Twilio: [
    'TWILIO_ACCOUNT_SID',
    'TWILIO_AUTH_TOKEN',
    'TWILIO_API_KEY_SID',
    'TWILIO_API_KEY_SECRET',
    'TWILIO_FROM_NUMBER',
    'TWILIO_VOICE_FROM',
  ],
  Vonage: ['VONAGE_API_KEY', 'VONAGE_API_SECRET', 'VONAGE_FROM'],
  Firebase: ['FCM_SERVICE_ACCOUNT'],
} as const satisfies Record<string, readonly SecretName[]>

type Vendor = keyof typeof CREDENTIALS

export const VENDOR_SECRETS: readonly SecretName[] = [
  ...Object.values(CREDENTIALS).flat(),
  // What only receipts need.
  'TWILIO_AUTH_TOKEN_PREVIOUS',
  'VONAGE_SIGNATURE_SECRET',
]

/** https://www.twilio.com/docs/glossary/what-is-alphanumeric-sender-id holds for Vonage as well. */
const VONAGE_SENDER = matching(
  /^(\+[1-9]\d{1,14}|(?=.*[A-Za-z])[A-Za-z0-9 ]{1,11})$/,
  'an E.164 number, or a sender id of up to 11 letters, digits and spaces with at least one letter',
)

/** A host with or without a port, as Google's own libraries take it. */
const METADATA_HOST = matching(/^[A-Za-z0-9.-]+(:\d{1,5})?$/, 'a host name or an IPv4 address, with or without a port')

type Missing = Partial<Record<SecretName, string>>

/** What a vendor that is there can't do without. */
function neededOf(missing: Missing): Record<Vendor, readonly SecretName[]> {
  const hasTwilioKey = !missing.TWILIO_API_KEY_SID || !missing.TWILIO_API_KEY_SECRET
  const twilio: SecretName[] = hasTwilioKey ? ['TWILIO_API_KEY_SID', 'TWILIO_API_KEY_SECRET'] : ['TWILIO_AUTH_TOKEN']
  return {
    Twilio: ['TWILIO_ACCOUNT_SID', ...twilio, 'TWILIO_FROM_NUMBER'],
    Vonage: CREDENTIALS.Vonage,
    Firebase: CREDENTIALS.Firebase,
  }
}

/** The secrets that a vendor lacks of which another secret is there, each with why it is needed. */
export function missingVendorSecrets(missing: Missing): { name: SecretName; why: string }[] {
  return Object.entries(neededOf(missing)).flatMap(([vendor, names]) => {
    const isThere = CREDENTIALS[vendor as Vendor].some((name) => !missing[name])
    return isThere ? names.map((name) => ({ name, why: `with the other ${vendor} credentials` })) : []
  })
}

/** True if no vendor is there. */
export function isWithoutVendors(missing: Missing): boolean {
  return Object.values(CREDENTIALS)
    .flat()
    .every((name) => missing[name])
}

/** What isn't secret about the vendors. In production they are called over https only. */
export function readVendorSettings(setting: SettingReader, production: boolean, problems: string[]) {
  const url = httpUrl(production ? 'nowhere' : 'anywhere')
  const metadataHost = setting('GCE_METADATA_HOST', METADATA_HOST, 'metadata.google.internal')
  return {
    twilioUrl: readTwilioUrl(setting, url, problems),
    vonageUrl: setting('VONAGE_API_URL', url, 'https://api.nexmo.com'),
    fcmUrl: setting('FCM_API_URL', url, 'https://fcm.googleapis.com'),
    fcmProjectId: setting('FCM_PROJECT_ID', PROJECT_ID, undefined),
    googleCredentials: googleCredentials(production, `http://${metadataHost}`),
  }
}

/** Each vendor that all needed secrets are there of. */
export function readVendors(
  secret: SettingReader,
  settings: ReturnType<typeof readVendorSettings>,
  problems: string[],
): Pick<Secrets, 'twilio' | 'vonage' | 'fcm'> {
  const twilio = readTwilio(secret, settings.twilioUrl)
  const apiKey = secret('VONAGE_API_KEY', TOKEN, undefined)
  const apiSecret = secret('VONAGE_API_SECRET', TOKEN, undefined)
  const from = secret('VONAGE_FROM', VONAGE_SENDER, undefined)
  const signatureSecret = secret('VONAGE_SIGNATURE_SECRET', TOKEN, undefined)
  const vonage =
    apiKey && apiSecret && from ? { apiKey, apiSecret, signatureSecret, from, apiUrl: settings.vonageUrl } : undefined
  const credentials = secret('FCM_SERVICE_ACCOUNT', settings.googleCredentials, undefined)
  const projectId = settings.fcmProjectId ?? credentials?.projectId
  if (credentials?.type === 'external_account' && !projectId) {
    problems.push('FCM_PROJECT_ID: is required with an external account in FCM_SERVICE_ACCOUNT, which names no project')
  }
  const fcm = credentials && { credentials, projectId, apiUrl: settings.fcmUrl }
  return { twilio, vonage, fcm }
}
