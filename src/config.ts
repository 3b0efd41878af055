import {
  hasCredentials,
  missingVendorSecrets,
  readVendors,
  readVendorTimeouts,
  vendorSecretPlaces,
} from './providers/read-vendors.ts'
import type { Vendor } from './providers/vendor.ts'
import { VENDORS } from './providers/vendors.ts'
import { isLocalDatabase, readDatabaseUrl } from './secrets/database-tls.ts'
import { environmentSecrets } from './secrets/environment.ts'
import { readKeys } from './secrets/key-rules.ts'
import type { SecretPlace, SecretSource } from './secrets/secret-source.ts'
import { DATABASE_LISTEN_URL, DATABASE_URL, KEY_SECRETS, type Secrets } from './secrets/secrets.ts'
import { vaultSecrets } from './secrets/vault.ts'
import {
  type Env,
  httpUrl,
  matching,
  oneOf,
  type SettingReader,
  seconds,
  settingReader,
  wholeNumber,
} from './settings.ts'

/** All settings and secrets of a process, as read at its start. */
export interface Config extends Secrets {
  /** NODE_ENV is `production`: nothing embedded or simulated is used. */
  readonly production: boolean
  /** HOST: the address all ports listen on. */
  readonly host: string
  /** GRPC_PORT; 0 is any free port, as for the other ports. */
  readonly grpcPort: number
  /** GRPC_MAX_CONNECTION_AGE_SECONDS: about as long as a connection to the gRPC port lasts, in milliseconds. */
  readonly grpcMaxConnectionAgeMs: number
  /** HTTP_PORT: webhooks, which the internet reaches. */
  readonly httpPort: number
  /** ADMIN_PORT: metrics and health. */
  readonly adminPort: number
  /** SANDBOX_PORT: the sandbox, when it is used. */
  readonly sandboxPort: number
  /** DATA_DIR as given: where the embedded database and its keys are kept. */
  readonly dataDir: string
  /** PUBLIC_WEBHOOK_URL: where vendors reach our webhooks, without path; undefined when they shall not report. */
  readonly publicWebhookUrl: string | undefined
  /** TWILIO_TIMEOUT_SECONDS and the like: the most one call to each vendor may take, in milliseconds, by the vendor's name. */
  readonly vendorTimeoutsMs: Readonly<Record<string, number>>
  /** CIRCUIT_BREAKER: true if a provider that fails too often gets no calls for a while. */
  readonly circuitBreaker: boolean
  /** CHALLENGE_TTL_SECONDS: how long a code may be used, in milliseconds. */
  readonly challengeTtlMs: number
  /** CHALLENGE_MAX_TRIES: how many codes may be submitted for one challenge. */
  readonly challengeMaxTries: number
  /** DELIVERY_BUDGET_SECONDS: the most a delivery may take with all its retries and providers, in milliseconds. */
  readonly deliveryBudgetMs: number
  /** DELIVERY_RETRIES: calls after the first one, for one delivery by one provider. */
  readonly deliveryRetries: number
  /** DELIVERY_BACKOFF_MS: the wait before the first retry, in milliseconds; it doubles with each further one. */
  readonly deliveryBackoffMs: number
  /** DELIVERIES_IN_FLIGHT: the most deliveries that one provider has under way in this process. */
  readonly deliveriesInFlight: number
  /** DATABASE_POOL_SIZE: the most database connections that calls use; one more listens, one more looks for readiness. */
  readonly databasePoolSize: number
  /** DATABASE_POOLER: what is between us and the database. */
  readonly databasePooler: 'none' | 'transaction'
  /** RETENTION_DAYS: how long signatures are kept after their end, in milliseconds; undefined: for ever. */
  readonly retentionMs: number | undefined
  /** LOG_LEVEL: the least severe level that is logged. */
  readonly logLevel: LogLevel
  /** SECRETS_REFRESH_SECONDS, or less where Vault's token must be renewed sooner: between two reads, in milliseconds. */
  readonly secretsRefreshMs: number
  /** Reads everything once more, as {@link loadConfig} does; undefined where the secrets can't change. */
  readonly readAgain: ((signal: AbortSignal) => Promise<Config>) | undefined
}

type LogLevel = (typeof LOG_LEVELS)[number]

/** Names everything that keeps the process from starting. Never holds a setting's value. */
export class ConfigError extends Error {
  override readonly name = 'ConfigError'
  /** One line for each, `NAME: what it must be`. */
  readonly problems: string[]

  constructor(problems: string[]) {
    super(problems.join('\n'))
    this.problems = problems
  }
}

const LOG_LEVELS = ['fatal', 'error', 'warn', 'info', 'debug', 'trace', 'silent'] as const

const NO_ENV =
  'NODE_ENV: must be set with DATABASE_URL on another machine and no credentials of any vendor: production, or development for the sandbox in their place'

const PORT = wholeNumber(0, 65_535)
const HOST = matching(/^[\w.:%-]+$/, 'a host name or an IP address')
const DIRECTORY = matching(/^[^\0]+$/, 'a path')

/**
 * Reads the settings, and the secrets from where SECRETS_SOURCE says; `openSource` is that place when it was read before.
 * `vendors` are those that may be configured.
 * @throws ConfigError naming everything that is missing, wrong or unreadable; the signal's reason when it is aborted.
 */
export async function loadConfig(
  env: Env,
  signal = new AbortController().signal,
  { vendors = VENDORS, openSource }: { vendors?: readonly Vendor[]; openSource?: SecretSource } = {},
): Promise<Config> {
  const problems: string[] = []
  const setting = settingReader(env, problems)
  const { needsTls, ...basics } = basicSettings(setting)
  const { production } = basics
  const settings = {
    ...basics,
    host: setting('HOST', HOST, '127.0.0.1'),
    grpcPort: setting('GRPC_PORT', PORT, 50_051),
    grpcMaxConnectionAgeMs: setting('GRPC_MAX_CONNECTION_AGE_SECONDS', wholeNumber(1, 86_400), 1_800) * 1000,
    httpPort: setting('HTTP_PORT', PORT, 8080),
    adminPort: setting('ADMIN_PORT', PORT, 9090),
    sandboxPort: setting('SANDBOX_PORT', PORT, 8025),
    vendorTimeoutsMs: readVendorTimeouts(vendors, setting),
    circuitBreaker: setting('CIRCUIT_BREAKER', oneOf('on', 'off'), 'on') === 'on',
    challengeTtlMs: setting('CHALLENGE_TTL_SECONDS', wholeNumber(30, 600), 300) * 1000,
    challengeMaxTries: setting('CHALLENGE_MAX_TRIES', wholeNumber(1, 5), 3),
    deliveryBudgetMs: setting('DELIVERY_BUDGET_SECONDS', seconds(60), 15_000),
    deliveryRetries: setting('DELIVERY_RETRIES', wholeNumber(0, 3), 3),
    deliveryBackoffMs: setting('DELIVERY_BACKOFF_MS', wholeNumber(1, 5_000), 500),
    deliveriesInFlight: setting('DELIVERIES_IN_FLIGHT', wholeNumber(1, 10_000), 500),
    databasePoolSize: setting('DATABASE_POOL_SIZE', wholeNumber(1, 500), 20),
    logLevel: setting('LOG_LEVEL', oneOf(...LOG_LEVELS), 'info'),
    secretsRefreshMs: setting('SECRETS_REFRESH_SECONDS', wholeNumber(1, 3_600), 30) * 1000,
  }
  const retentionDays = setting('RETENTION_DAYS', wholeNumber(1, 36_500), undefined)
  const url = httpUrl(production ? 'nowhere' : 'anywhere')
  const publicWebhookUrl = setting('PUBLIC_WEBHOOK_URL', url, undefined)

  const { fromVault, ...opened } = openSecrets(env, setting, production)
  const source = openSource ?? opened.source
  const secrets = [DATABASE_URL, ...KEY_SECRETS, DATABASE_LISTEN_URL, ...vendorSecretPlaces(vendors)]
  const found = await source.read(secrets, signal)
  const { values, missing } = found
  signal.throwIfAborted()
  problems.push(...found.problems)

  const requireAll = (required: readonly Pick<SecretPlace, 'name'>[], why: string) => {
    for (const { name } of required) if (missing[name]) problems.push(`${name}: is required ${why}; ${missing[name]}`)
  }
  const isWithoutVendors = !vendors.some((vendor) => hasCredentials(vendor, missing))
  if (production) requireAll([DATABASE_URL, ...KEY_SECRETS], 'with NODE_ENV=production')
  if (production && isWithoutVendors) problems.push(noVendor(vendors))
  for (const { name, why } of missingVendorSecrets(vendors, missing)) requireAll([{ name }], why)
  if (!production) {
    if (!missing.DATABASE_URL) requireAll(KEY_SECRETS, 'with DATABASE_URL, the same for all replicas')
    else if (KEY_SECRETS.some(({ name }) => !missing[name])) requireAll(KEY_SECRETS, 'with the other keys')
  }

  const secret = settingReader(values, problems)
  const databaseUrl = readDatabaseUrl(DATABASE_URL.name, secret, needsTls, problems)
  const databaseListenUrl = readDatabaseUrl(DATABASE_LISTEN_URL.name, secret, needsTls, problems)
  // With NODE_ENV and the credentials forgotten, codes would be shown on the sandbox's page and no customer would get one.
  if (databaseUrl && !env.NODE_ENV && isWithoutVendors && !isLocalDatabase(databaseUrl)) problems.push(NO_ENV)
  const configured = readVendors(vendors, { setting, secret, production, problems })
  const keys = readKeys(secret)

  // Such a vendor's description doesn't say of all secrets that it can't do without that they are needed.
  const lost = vendors.filter((vendor) => hasCredentials(vendor, missing) && !configured[vendor.name])
  if (problems.length === 0) problems.push(...lost.map(({ credentials }) => `${credentials}: must be complete`))
  if (problems.length > 0) throw new ConfigError(problems)
  const secretsRefreshMs = Math.max(1_000, Math.min(settings.secretsRefreshMs, found.againWithinMs))
  const retentionMs = retentionDays && retentionDays * 24 * 3_600_000
  // The environment of a running process never changes.
  const canChange = fromVault || secrets.some(({ name }) => env[`${name}_FILE`])
  const readAgain = canChange
    ? (again: AbortSignal) => loadConfig(env, again, { vendors, openSource: source })
    : undefined
  const urls = { publicWebhookUrl, databaseUrl, databaseListenUrl }
  return { ...settings, secretsRefreshMs, retentionMs, ...urls, vendors: configured, keys, readAgain }
}

/** The settings of the database, which are all that migrations need. */
export type DatabaseConfig = Pick<Config, 'production' | 'dataDir' | 'databasePooler' | 'databaseUrl'>

/** Reads only the settings of the database. Throws as {@link loadConfig} does. */
export async function loadDatabaseConfig(env: Env, signal: AbortSignal): Promise<DatabaseConfig> {
  const problems: string[] = []
  const setting = settingReader(env, problems)
  const { needsTls, ...settings } = basicSettings(setting)
  const { source } = openSecrets(env, setting, settings.production)
  const found = await source.read([DATABASE_URL], signal)
  signal.throwIfAborted()
  problems.push(...found.problems)
  const missing = settings.production && found.missing.DATABASE_URL
  if (missing) problems.push(`DATABASE_URL: is required with NODE_ENV=production; ${missing}`)
  const databaseUrl = readDatabaseUrl(DATABASE_URL.name, settingReader(found.values, problems), needsTls, problems)
  if (problems.length > 0) throw new ConfigError(problems)
  return { ...settings, databaseUrl }
}

function basicSettings(setting: SettingReader) {
  // A misspelt production would otherwise start with a simulator in Twilio's place.
  const production = setting('NODE_ENV', oneOf('production', 'development', 'test'), 'development') === 'production'
  return {
    production,
    needsTls: setting('DATABASE_TLS', oneOf('required', 'off'), 'required') === 'required' && production,
    dataDir: setting('DATA_DIR', DIRECTORY, '.data'),
    databasePooler: setting('DATABASE_POOLER', oneOf('none', 'transaction'), 'none'),
  }
}

function noVendor(vendors: readonly Vendor[]): string {
  const names = new Intl.ListFormat('en-GB', { type: 'disjunction' }).format(
    vendors.map(({ credentials }) => credentials),
  )
  return `${names}: the credentials of at least one vendor are required with NODE_ENV=production`
}

function openSecrets(env: Env, setting: SettingReader, production: boolean) {
  const fromVault = setting('SECRETS_SOURCE', oneOf('environment', 'vault'), 'environment') === 'vault'
  return { fromVault, source: fromVault ? vaultSecrets(env, production) : environmentSecrets(env) }
}
