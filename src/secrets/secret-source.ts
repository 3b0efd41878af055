/** Every setting that may be kept in a secret store. */
export type SecretName =
  | 'DATABASE_URL'
  | 'DATABASE_LISTEN_URL'
  | 'TWILIO_ACCOUNT_SID'
  | 'TWILIO_AUTH_TOKEN'
  | 'TWILIO_AUTH_TOKEN_PREVIOUS'
  | 'TWILIO_API_KEY_SID'
  | 'TWILIO_API_KEY_SECRET'
  | 'TWILIO_FROM_NUMBER'
  | 'TWILIO_VOICE_FROM'
  | 'VONAGE_API_KEY'
  | 'VONAGE_API_SECRET'
  | 'VONAGE_FROM'
  | 'VONAGE_SIGNATURE_SECRET'
  | 'FCM_SERVICE_ACCOUNT'
  | 'CODE_KEYS'
  | 'PII_KEYS'
  | 'INDEX_KEY'

/** A secret in neither `values` nor `missing` is there but couldn't be read: a problem says why. */
export interface ReadSecrets {
  readonly values: Partial<Record<SecretName, string>>
  /** The secrets that don't exist, each with what to do to provide it. */
  readonly missing: Partial<Record<SecretName, string>>
  /** Lines of `NAME: what it must be`, which never hold a value. */
  readonly problems: readonly string[]
  /** How soon to read again, lest the access to the place ends; Infinity where it can't or where reading doesn't help. */
  readonly againWithinMs: number
}

/** Where secrets are kept. */
export interface SecretSource {
  /** Reads the named secrets. Problems are collected, not thrown, so that all of them are known at once. */
  read(names: readonly SecretName[], signal: AbortSignal): Promise<ReadSecrets>
}
