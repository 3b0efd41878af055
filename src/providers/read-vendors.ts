import { httpUrl, type SettingReader, seconds } from '../settings.ts'
import type { ConfiguredVendor, Vendor, VendorSecret } from './vendor.ts'

/** The secrets that don't exist, by name. */
type Missing = Readonly<Record<string, string | undefined>>

const TIMEOUT = seconds(60)
const USUAL_TIMEOUT_MS = 5_000

/** Where every secret of these vendors is kept: its environment variable, and its path and field in Vault. */
export function vendorSecretPlaces(vendors: readonly Vendor[]): { name: string; path: string; field: string }[] {
  return vendors.flatMap((vendor) =>
    secretsOf(vendor).map(({ name, field }) => ({ name, path: `providers/${vendor.name}`, field })),
  )
}

/** The secrets that are missing of vendors that have credentials, each with why it is needed. */
export function missingVendorSecrets(vendors: readonly Vendor[], missing: Missing): { name: string; why: string }[] {
  return vendors
    .filter((vendor) => hasCredentials(vendor, missing))
    .flatMap((vendor) =>
      secretsOf(vendor)
        .filter((secret) => missing[secret.name] && isNeeded(secret, missing))
        .map(({ name }) => ({ name, why: `with the other ${vendor.title} credentials` })),
    )
}

/** True if the vendor has any secret, apart from those that only receipts need. */
export function hasCredentials(vendor: Vendor, missing: Missing): boolean {
  return secretsOf(vendor).some(({ name, need }) => need !== 'for receipts' && !missing[name])
}

/**
 * Reads the secrets and settings of these vendors, and returns those that have all they need, by name. In production they
 * are called over https only. Adds what is wrong to `problems`.
 */
export function readVendors(
  vendors: readonly Vendor[],
  {
    setting,
    secret,
    production,
    problems,
  }: { setting: SettingReader; secret: SettingReader; production: boolean; problems: string[] },
): Record<string, ConfiguredVendor> {
  const url = httpUrl(production ? 'nowhere' : 'anywhere')
  const read = ({ name, rule }: VendorSecret) => secret(name, typeof rule === 'function' ? rule(url) : rule, undefined)
  const configured = vendors.flatMap((vendor) => {
    const entries = Object.entries(vendor.secrets).map(([key, secret]) => {
      return { key, name: secret.name, value: read(secret) }
    })
    const byKey = Object.fromEntries(entries.map(({ key, value }) => [key, value]))
    const values = Object.fromEntries(entries.map(({ name, value }) => [name, value]))
    const config = vendor.configure(byKey, { setting, url, problems })
    return config === undefined ? [] : [[vendor.name, { vendor, config, values }] as const]
  })
  return Object.fromEntries(configured)
}

/** The most that one call to each vendor may take, in milliseconds, by the vendor's name. */
export function readVendorTimeouts(vendors: readonly Vendor[], setting: SettingReader): Record<string, number> {
  return Object.fromEntries(
    vendors.map(({ name, timeoutSetting }) => [name, setting(timeoutSetting, TIMEOUT, USUAL_TIMEOUT_MS)]),
  )
}

function secretsOf({ secrets }: Vendor): VendorSecret[] {
  return Object.values(secrets)
}

function isNeeded({ need }: VendorSecret, missing: Missing): boolean {
  if (typeof need === 'string') return need === 'always'
  return 'with' in need ? need.with.some((name) => !missing[name]) : need.without.every((name) => missing[name])
}
