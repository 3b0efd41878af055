import type { Keys } from '../domain/keys.ts'
import type { ServiceAccount } from './vendor-credentials.ts'

/** Everything that is read from where secrets are kept, each group whole or not at all. */
export interface Secrets {
  /** DATABASE_URL; undefined means the embedded PostgreSQL. */
  readonly databaseUrl: string | undefined
  /** TWILIO_*, VONAGE_* and FCM_*: each vendor's when it has credentials. With none at all the sandbox stands in for them. */
  readonly twilio: TwilioConfig | undefined
  readonly vonage: VonageConfig | undefined
  readonly fcm: FcmConfig | undefined
  /** CODE_KEYS, PII_KEYS and INDEX_KEY; undefined only with the embedded database, which has keys of its own. */
  readonly keys: Keys | undefined
}

interface TwilioConfig {
  readonly accountSid: string
  /** A secret: never to be logged. */
  readonly authToken: string
  /** TWILIO_AUTH_TOKEN_PREVIOUS, a secret: the one before, which receipts may still be signed with. */
  readonly previousAuthToken: string | undefined
  /** An E.164 number or an alphanumeric sender id. */
  readonly fromNumber: string
  /** Without a slash or the API's version at its end. */
  readonly apiUrl: string
}

interface VonageConfig {
  readonly apiKey: string
  /** A secret: never to be logged. */
  readonly apiSecret: string
  /** VONAGE_SIGNATURE_SECRET, a secret: what receipts are signed with. Without it Vonage isn't asked for any. */
  readonly signatureSecret: string | undefined
  /** An E.164 number or an alphanumeric sender id. */
  readonly from: string
  readonly apiUrl: string
}

interface FcmConfig {
  readonly serviceAccount: ServiceAccount
  readonly apiUrl: string
}
