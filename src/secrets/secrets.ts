import type { Keys } from '../domain/keys.ts'
import type { GoogleCredentials } from '../providers/fcm/google-credentials.ts'

/** Everything that is read from where secrets are kept, each group whole or not at all. */
export interface Secrets {
  /** DATABASE_URL; undefined means the embedded PostgreSQL. */
  readonly databaseUrl: string | undefined
  /** DATABASE_LISTEN_URL: where to listen for changes, past any pooler; undefined: where DATABASE_URL leads. */
  readonly databaseListenUrl: string | undefined
  /** TWILIO_*, VONAGE_* and FCM_*: each vendor's when it has credentials. With none at all the sandbox stands in for them. */
  readonly twilio: TwilioConfig | undefined
  readonly vonage: VonageConfig | undefined
  readonly fcm: FcmConfig | undefined
  /** CODE_KEYS, PII_KEYS and INDEX_KEY; undefined only with the embedded database, which has keys of its own. */
  readonly keys: Keys | undefined
}

export interface TwilioConfig {
  readonly accountSid: string
  /** A secret: never to be logged. Receipts are signed with it; undefined only beside an API key, and then none are asked for. */
  readonly authToken: string | undefined
  /** TWILIO_AUTH_TOKEN_PREVIOUS, a secret: the one before, which receipts may still be signed with. */
  readonly previousAuthToken: string | undefined
  /** What calls to the API are made with instead of the auth token. Its secret is never to be logged. */
  readonly apiKey: { readonly sid: string; readonly secret: string } | undefined
  /** TWILIO_FROM_NUMBER: an E.164 number, a short code, an alphanumeric sender id or a Messaging Service's SID. */
  readonly fromNumber: string
  /** TWILIO_VOICE_FROM, or else TWILIO_FROM_NUMBER where that is an E.164 number. Without one there are no calls. */
  readonly voiceFrom: string | undefined
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
  readonly credentials: GoogleCredentials
  /** FCM_PROJECT_ID, or the credentials' own. Undefined only with the metadata server, which is asked. */
  readonly projectId: string | undefined
  readonly apiUrl: string
}
