import type { KeyRing } from '../domain/keys.ts'
import type { Rule, SettingReader } from '../settings.ts'
import type { SignatureProvider } from './provider.ts'
import type { ReceiptReader } from './receipt-reader.ts'
import type { WebhookUrl } from './webhook-url.ts'

/** A secret of a vendor. */
export interface VendorSecret<T = unknown> {
  /** Its environment variable. */
  readonly name: string
  /** Its field in Vault, at the path `providers/<name of the vendor>`. */
  readonly field: string
  /** What it must be, or a function that makes that of what a vendor's URL must be. */
  readonly rule: Rule<T> | ((url: Rule<string>) => Rule<T>)
  /**
   * When it must be set, once the vendor has any credentials: always, never, with any of some other secrets, or without all of
   * them. `for receipts`: never, and set alone it doesn't count as credentials.
   */
  readonly need: 'always' | 'never' | 'for receipts' | { with: readonly string[] } | { without: readonly string[] }
}

/** What a vendor's configuration is read with besides its secrets. */
export interface VendorReader {
  readonly setting: SettingReader
  /** What the vendor's URL must be. */
  readonly url: Rule<string>
  /** Takes lines of `NAME: what it must be`, which never hold a value. */
  readonly problems: string[]
}

/** What a vendor's providers need besides its configuration. */
export interface VendorMeans {
  /** For each call. */
  readonly timeoutMs: number
  readonly clock: () => Date
  /** Undefined where vendors can't reach us. */
  readonly webhookUrl: WebhookUrl | undefined
  /** For personal data, as they are at each call. */
  readonly piiKeys: () => KeyRing
}

/**
 * Everything that the service knows of a vendor. `Values` are its secrets' values, `Config` is what its providers are made of.
 */
interface VendorOf<Values, Config> {
  /** As in the folder's name, in Vault's path and at the beginning of its providers' names. */
  readonly name: string
  /** As in a sentence. */
  readonly title: string
  /** What problems with all its credentials begin with, for example `VONAGE_*`. */
  readonly credentials: string
  readonly secrets: { readonly [Key in keyof Values]: VendorSecret<Values[Key]> }
  /** The setting that limits each call to it, in seconds. */
  readonly timeoutSetting: string
  /** Reads its settings, also when it has no secrets. Returns undefined when one that it can't do without is missing. */
  configure(
    values: { readonly [Key in keyof Values]: Values[Key] | undefined },
    reader: VendorReader,
  ): Config | undefined
  providers(config: Config, means: VendorMeans): SignatureProvider[]
  /** `publicUrl` is where the vendor reaches our webhooks, without path. */
  receiptReaders(config: Config, publicUrl: string): ReceiptReader[]
  /** Why a running process can't go on with `after`, if it can't: `NAME: why`. */
  restartProblem?(before: Config, after: Config): string | undefined
  /** What is missing when the vendor can't reach our webhooks, for the log. */
  withoutWebhooks?: string
}

/** A vendor whose types of values and configuration only the vendor itself knows. */
export type Vendor = VendorOf<Record<string, unknown>, unknown>

/** A vendor that has credentials. */
export interface ConfiguredVendor {
  readonly vendor: Vendor
  /** What the vendor has made of its secrets and settings. */
  readonly config: unknown
  /** Its secrets, by their environment variables. */
  readonly values: Readonly<Record<string, unknown>>
}

/** Describes a vendor; the types of its functions follow from its secrets. */
export function defineVendor<Values, Config>(vendor: VendorOf<Values, Config>): Vendor {
  // Each function gets only what another one of the same vendor has made.
  return vendor as unknown as Vendor
}
