/** Where a secret is kept. */
export interface SecretPlace {
  /** Its environment variable. */
  readonly name: string
  /** Where it is in Vault, below the prefix. */
  readonly path: string
  readonly field: string
}

/** Secrets as they were read, by name. One in neither `values` nor `missing` exists but couldn't be read: a problem says why. */
export interface ReadSecrets {
  readonly values: Readonly<Record<string, string | undefined>>
  /** What to do to provide each secret that doesn't exist. */
  readonly missing: Readonly<Record<string, string | undefined>>
  /** Lines of `NAME: what it must be`, which never hold a value. */
  readonly problems: readonly string[]
  /** Milliseconds after which to read again to keep the access alive; Infinity where it can't end or reading doesn't help. */
  readonly againWithinMs: number
}

/** Where secrets are kept. */
export interface SecretSource {
  /** Reads these secrets. Problems are collected, not thrown, so that all of them are known at once. */
  read(secrets: readonly SecretPlace[], signal: AbortSignal): Promise<ReadSecrets>
}
