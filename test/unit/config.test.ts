import { generateKeyPairSync } from 'node:crypto'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { ConfigError, loadConfig } from '../../src/config.ts'
import { isOpenToOthers } from '../../src/secrets/database-tls.ts'

type Env = Record<string, string | undefined>

const key = (byte: number) => Buffer.alloc(32, byte).toString('base64')
const KEYS = { CODE_KEYS: `c1:${key(1)}`, PII_KEYS: `p2:${key(2)},p1:${key(3)}`, INDEX_KEY: key(4) }
const TWILIO = {
  TWILIO_ACCOUNT_SID: `AC${'0123456789abcdef'.repeat(2)}`,
  TWILIO_AUTH_TOKEN: 'a-twilio-token',
  TWILIO_FROM_NUMBER: '+15005550006',
}
const TWILIO_KEY = { TWILIO_API_KEY_SID: `SK${'0123456789abcdef'.repeat(2)}`, TWILIO_API_KEY_SECRET: 'a-key-secret' }
const VONAGE = { VONAGE_API_KEY: 'vonage-key', VONAGE_API_SECRET: 'vonage-secret', VONAGE_FROM: 'Bank' }
const { privateKey } = generateKeyPairSync('rsa', {
  modulusLength: 2_048,
  publicKeyEncoding: { type: 'spki', format: 'pem' },
  privateKeyEncoding: { type: 'pkcs8', format: 'pem' },
})
const JSON_KEY = {
  type: 'service_account',
  projectId: 'bank-app',
  clientEmail: 'router@bank-app.iam.gserviceaccount.com',
  privateKey,
  tokenUri: 'https://oauth2.googleapis.com/token',
}
const PRODUCTION = {
  NODE_ENV: 'production',
  DATABASE_URL: 'postgres://bank:pw@db/signatures?sslmode=verify-full',
  ...TWILIO,
  ...KEYS,
}

/** The file that Google gives, with some fields changed. */
function serviceAccount(fields: Record<string, unknown> = {}): string {
  return JSON.stringify({
    type: 'service_account',
    project_id: JSON_KEY.projectId,
    client_email: JSON_KEY.clientEmail,
    private_key: privateKey,
    token_uri: JSON_KEY.tokenUri,
    ...fields,
  })
}

const EXTERNAL = {
  audience: '//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/bank/providers/cluster',
  subject_token_type: 'urn:ietf:params:oauth:token-type:jwt',
  token_url: 'https://sts.googleapis.com/v1/token',
}

/** The file that Google gives for a workload identity federation, with some fields changed. */
function externalAccount(fields: Record<string, unknown> = {}): string {
  return JSON.stringify({
    type: 'external_account',
    universe_domain: 'googleapis.com',
    ...EXTERNAL,
    credential_source: { file: '/var/run/token', format: { type: 'text' } },
    ...fields,
  })
}

let directory: string
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'config-'))
})
afterAll(() => rm(directory, { recursive: true }))

async function problemsOf(env: Env): Promise<string[]> {
  const error = await loadConfig(env).then(
    () => undefined,
    (error: unknown) => error,
  )
  if (!error) return []
  if (!(error instanceof ConfigError)) throw error
  expect(error.message).toBe(error.problems.join('\n'))
  return error.problems
}

/** The settings that the problems are about, in order of the alphabet. */
async function namesOf(env: Env): Promise<string[]> {
  return (await problemsOf(env)).map((problem) => problem.replace(/:.*/, '')).sort()
}

async function file(name: string, text: string): Promise<string> {
  const path = join(directory, name)
  await writeFile(path, text)
  return path
}

test('without any setting everything has its default, with an embedded database and the sandbox', async () => {
  expect(await loadConfig({})).toEqual({
    production: false,
    host: '127.0.0.1',
    grpcPort: 50051,
    grpcMaxConnectionAgeMs: 1_800_000,
    httpPort: 8080,
    adminPort: 9090,
    sandboxPort: 8025,
    dataDir: '.data',
    databaseUrl: undefined,
    databaseListenUrl: undefined,
    databasePooler: 'none',
    publicWebhookUrl: undefined,
    vendors: {},
    vendorTimeoutsMs: { twilio: 5000, vonage: 5000, fcm: 5000 },
    circuitBreaker: true,
    challengeTtlMs: 300_000,
    challengeMaxTries: 3,
    deliveryBudgetMs: 15_000,
    deliveryRetries: 3,
    deliveryBackoffMs: 500,
    deliveriesInFlight: 500,
    databasePoolSize: 20,
    retentionMs: undefined,
    logLevel: 'info',
    secretsRefreshMs: 30_000,
    readAgain: undefined,
    keys: undefined,
  })
})

test('an empty setting is an unset one', async () => {
  const empty = { GRPC_PORT: '', LOG_LEVEL: '', DATABASE_URL: '', TWILIO_AUTH_TOKEN: '', INDEX_KEY_FILE: '' }
  expect(await loadConfig(empty)).toEqual(await loadConfig({}))
})

test('every setting can be set', async () => {
  const config = await loadConfig({
    ...PRODUCTION,
    HOST: '::',
    GRPC_PORT: '0',
    GRPC_MAX_CONNECTION_AGE_SECONDS: '86400',
    HTTP_PORT: '65535',
    ADMIN_PORT: '65534',
    SANDBOX_PORT: '1',
    DATA_DIR: './some/../data',
    PUBLIC_WEBHOOK_URL: 'https://signatures.bank/hooks/',
    TWILIO_AUTH_TOKEN_PREVIOUS: 'the-token-before',
    ...TWILIO_KEY,
    TWILIO_VOICE_FROM: '+34910000000',
    VONAGE_SIGNATURE_SECRET: 'vonage-signs-with-this',
    TWILIO_API_URL: 'https://proxy.bank/twilio/2010-04-01/',
    TWILIO_TIMEOUT_SECONDS: '0.25',
    ...VONAGE,
    VONAGE_API_URL: 'https://proxy.bank/vonage/',
    VONAGE_TIMEOUT_SECONDS: '2.5',
    FCM_SERVICE_ACCOUNT: serviceAccount(),
    FCM_PROJECT_ID: 'bank-firebase',
    FCM_API_URL: 'https://proxy.bank/fcm',
    FCM_TIMEOUT_SECONDS: '60',
    CIRCUIT_BREAKER: 'off',
    CHALLENGE_TTL_SECONDS: '600',
    CHALLENGE_MAX_TRIES: '5',
    DELIVERY_BUDGET_SECONDS: '60',
    DELIVERY_RETRIES: '0',
    DELIVERY_BACKOFF_MS: '1',
    DELIVERIES_IN_FLIGHT: '50',
    DATABASE_POOL_SIZE: '10',
    RETENTION_DAYS: '30',
    LOG_LEVEL: 'silent',
    SECRETS_REFRESH_SECONDS: '3600',
    DATABASE_LISTEN_URL: 'postgres://bank:pw@db2/signatures?sslmode=verify-full',
    DATABASE_POOLER: 'transaction',
  })
  expect(config).toEqual({
    production: true,
    host: '::',
    grpcPort: 0,
    grpcMaxConnectionAgeMs: 86_400_000,
    httpPort: 65535,
    adminPort: 65534,
    sandboxPort: 1,
    dataDir: './some/../data',
    databaseUrl: PRODUCTION.DATABASE_URL,
    databaseListenUrl: 'postgres://bank:pw@db2/signatures?sslmode=verify-full',
    databasePooler: 'transaction',
    publicWebhookUrl: 'https://signatures.bank/hooks',
    vendors: expect.anything(),
    vendorTimeoutsMs: { twilio: 250, vonage: 2_500, fcm: 60_000 },
    circuitBreaker: false,
    challengeTtlMs: 600_000,
    challengeMaxTries: 5,
    deliveryBudgetMs: 60_000,
    deliveryRetries: 0,
    deliveryBackoffMs: 1,
    deliveriesInFlight: 50,
    databasePoolSize: 10,
    retentionMs: 30 * 24 * 3_600_000,
    logLevel: 'silent',
    secretsRefreshMs: 3_600_000,
    readAgain: undefined,
    keys: {
      code: { currentId: 'c1', byId: new Map([['c1', Buffer.alloc(32, 1)]]) },
      pii: {
        currentId: 'p2',
        byId: new Map([
          ['p2', Buffer.alloc(32, 2)],
          ['p1', Buffer.alloc(32, 3)],
        ]),
      },
      index: Buffer.alloc(32, 4),
    },
  })
  const configs = Object.fromEntries(Object.entries(config.vendors).map(([name, { config }]) => [name, config]))
  expect(configs).toEqual({
    twilio: {
      accountSid: TWILIO.TWILIO_ACCOUNT_SID,
      authToken: TWILIO.TWILIO_AUTH_TOKEN,
      previousAuthToken: 'the-token-before',
      apiKey: { sid: TWILIO_KEY.TWILIO_API_KEY_SID, secret: TWILIO_KEY.TWILIO_API_KEY_SECRET },
      fromNumber: TWILIO.TWILIO_FROM_NUMBER,
      voiceFrom: '+34910000000',
      apiUrl: 'https://proxy.bank/twilio',
    },
    vonage: {
      apiKey: VONAGE.VONAGE_API_KEY,
      apiSecret: VONAGE.VONAGE_API_SECRET,
      signatureSecret: 'vonage-signs-with-this',
      from: VONAGE.VONAGE_FROM,
      apiUrl: 'https://proxy.bank/vonage',
    },
    fcm: { credentials: JSON_KEY, projectId: 'bank-firebase', apiUrl: 'https://proxy.bank/fcm' },
  })
})

test('every problem is told at once, one line each, and none holds a value', async () => {
  const env = {
    NODE_ENV: 'production',
    HOST: 'host with spaces',
    GRPC_PORT: '65536',
    CHALLENGE_TTL_SECONDS: '29.5',
    DELIVERY_RETRIES: '-4',
    DELIVERIES_IN_FLIGHT: 'many',
    DATABASE_POOL_SIZE: 'large',
    RETENTION_DAYS: 'forever',
    LOG_LEVEL: 'chatty',
    SECRETS_SOURCE: 'sticky-note',
    TWILIO_API_URL: 'http://user:hunter2@elsewhere.example',
    TWILIO_ACCOUNT_SID: 'SK-not-an-account',
    TWILIO_AUTH_TOKEN: 'token with spaces',
    TWILIO_FROM_NUMBER: '0049123456',
    DATABASE_URL: 'mysql://root:letmein@db',
    CODE_KEYS: `k1:${key(7)},k1:${key(8)}`,
    PII_KEYS_FILE: join(directory, 'no-such-file'),
  }
  expect(await namesOf(env)).toEqual([
    'CHALLENGE_TTL_SECONDS',
    'CODE_KEYS',
    'DATABASE_POOL_SIZE',
    'DATABASE_URL',
    'DELIVERIES_IN_FLIGHT',
    'DELIVERY_RETRIES',
    'GRPC_PORT',
    'HOST',
    'INDEX_KEY',
    'LOG_LEVEL',
    'PII_KEYS_FILE',
    'RETENTION_DAYS',
    'SECRETS_SOURCE',
    'TWILIO_ACCOUNT_SID',
    'TWILIO_API_URL',
    'TWILIO_AUTH_TOKEN',
    'TWILIO_FROM_NUMBER',
  ])
  const message = (await problemsOf(env)).join('\n').replaceAll('NODE_ENV=production', '')
  for (const value of Object.values(env)) expect(message).not.toContain(value)
  for (const part of ['hunter2', 'letmein', key(7), key(8)]) expect(message).not.toContain(part)
})

test.for([
  ['GRPC_PORT', '80 80'],
  ['HTTP_PORT', '0x50'],
  ['ADMIN_PORT', '-1'],
  ['GRPC_MAX_CONNECTION_AGE_SECONDS', '0'],
  ['SANDBOX_PORT', '-1'],
  ['TWILIO_TIMEOUT_SECONDS', '0'],
  ['TWILIO_TIMEOUT_SECONDS', '60.001'],
  ['TWILIO_TIMEOUT_SECONDS', '1e1'],
  ['CHALLENGE_TTL_SECONDS', '29'],
  ['CHALLENGE_TTL_SECONDS', '601'],
  ['CHALLENGE_MAX_TRIES', '0'],
  ['CHALLENGE_MAX_TRIES', '6'],
  ['DELIVERY_BUDGET_SECONDS', '0.0001'],
  ['DELIVERY_RETRIES', '4'],
  ['DELIVERY_BACKOFF_MS', '0'],
  ['DELIVERY_BACKOFF_MS', '5001'],
  ['LOG_LEVEL', 'INFO'],
  ['SECRETS_REFRESH_SECONDS', '0'],
  ['SECRETS_REFRESH_SECONDS', '3601'],
  ['SECRETS_REFRESH_SECONDS', '1.5'],
  ['TWILIO_API_URL', 'ftp://api.twilio.com'],
  ['TWILIO_API_URL', 'https://api.twilio.com?'],
  ['TWILIO_API_URL', 'https://api.twilio.com/#x'],
  ['TWILIO_API_URL', 'api.twilio.com'],
] as const)('%s=%s is refused', async ([name, value]) => {
  expect(await namesOf({ [name]: value })).toEqual([name])
})

test.for([
  ['https://api.twilio.com', 'https://api.twilio.com'],
  ['https://api.twilio.com///', 'https://api.twilio.com'],
  ['https://api.twilio.com/2010-04-01', 'https://api.twilio.com'],
  ['http://127.0.0.1:8025/2010-04-01/', 'http://127.0.0.1:8025'],
  ['https://proxy/twilio//2010-04-01//', 'https://proxy/twilio'],
] as const)('TWILIO_API_URL %s means %s', async ([url, base]) => {
  expect((await loadConfig({ ...TWILIO, TWILIO_API_URL: url })).vendors.twilio?.config).toMatchObject({ apiUrl: base })
})

test.for([
  [{ TWILIO_EDGE: 'dublin' }, 'https://api.dublin.us1.twilio.com'],
  [{ TWILIO_EDGE: 'frankfurt', TWILIO_REGION: 'ie1' }, 'https://api.frankfurt.ie1.twilio.com'],
  [{ TWILIO_EDGE: 'sydney-ix', TWILIO_REGION: 'au1' }, 'https://api.sydney-ix.au1.twilio.com'],
  [{ TWILIO_REGION: 'ie1' }, 'https://api.dublin.ie1.twilio.com'],
  [{ TWILIO_REGION: 'xx9', TWILIO_EDGE: 'mars' }, 'https://api.mars.xx9.twilio.com'],
] as const)('%j calls Twilio at %s', async ([place, apiUrl]) => {
  expect((await loadConfig({ ...TWILIO, ...place })).vendors.twilio?.config).toMatchObject({ apiUrl: apiUrl })
})

test.for([
  [{ TWILIO_REGION: 'xx9' }, 'TWILIO_EDGE'],
  [{ TWILIO_EDGE: 'dublin', TWILIO_API_URL: 'https://proxy.bank' }, 'TWILIO_API_URL'],
  [{ TWILIO_REGION: 'ie1', TWILIO_API_URL: 'https://proxy.bank' }, 'TWILIO_API_URL'],
  [{ TWILIO_EDGE: 'evil.example/' }, 'TWILIO_EDGE'],
  [{ TWILIO_REGION: 'IE1' }, 'TWILIO_REGION'],
] as const)('%j is a problem of %s', async ([place, name]) => {
  expect(await namesOf({ ...TWILIO, ...place })).toEqual([name])
})

test.for([
  ['+34600111222', '+34600111222'],
  ['BANK', undefined],
  ['My Bank 24', undefined],
  ['A+B & C-D_E', undefined],
  ['242', undefined],
  ['12345', undefined],
  [`MG${'0a'.repeat(16)}`, undefined],
] as const)('messages can be sent from %s, and calls from %s', async ([from, voiceFrom]) => {
  expect((await loadConfig({ ...TWILIO, TWILIO_FROM_NUMBER: from })).vendors.twilio?.config).toMatchObject({
    fromNumber: from,
    voiceFrom,
  })
})

test('calls can be made from a number of their own', async () => {
  const env = { ...TWILIO, TWILIO_FROM_NUMBER: 'BANK', TWILIO_VOICE_FROM: '+34910000000' }
  expect((await loadConfig(env)).vendors.twilio?.config).toMatchObject({
    fromNumber: 'BANK',
    voiceFrom: '+34910000000',
  })
  for (const voiceFrom of ['BANK', '12345', `MG${'0a'.repeat(16)}`]) {
    expect(await namesOf({ ...env, TWILIO_VOICE_FROM: voiceFrom })).toEqual(['TWILIO_VOICE_FROM'])
  }
})

test.for([
  '600111222',
  '+0600111222',
  '12',
  'TwelveLetter',
  'B@nk',
  '+34600111222\n',
  `MG${'0'.repeat(31)}`,
  '+-&_ 123',
])('messages cannot be sent from %j', async (from) => {
  expect(await namesOf({ ...TWILIO, TWILIO_FROM_NUMBER: from })).toEqual(['TWILIO_FROM_NUMBER'])
})

test('some Twilio credentials without the others are refused, naming the missing ones', async () => {
  expect(await namesOf({ TWILIO_AUTH_TOKEN: 't' })).toEqual(['TWILIO_ACCOUNT_SID', 'TWILIO_FROM_NUMBER'])
  expect(await namesOf({ TWILIO_VOICE_FROM: '+34910000000' })).toEqual(Object.keys(TWILIO).sort())
  expect(await namesOf({ ...TWILIO, TWILIO_API_KEY_SECRET: 's' })).toEqual(['TWILIO_API_KEY_SID'])
  expect(await namesOf({ ...TWILIO, ...TWILIO_KEY, TWILIO_API_KEY_SID: TWILIO.TWILIO_ACCOUNT_SID })).toEqual([
    'TWILIO_API_KEY_SID',
  ])
})

test('with an API key the auth token may be left out', async () => {
  const { vendors } = await loadConfig({ ...TWILIO, ...TWILIO_KEY, TWILIO_AUTH_TOKEN: '' })
  expect(vendors.twilio?.config).toMatchObject({
    authToken: undefined,
    apiKey: { sid: TWILIO_KEY.TWILIO_API_KEY_SID, secret: TWILIO_KEY.TWILIO_API_KEY_SECRET },
  })
})

test('some keys without the others are refused, naming the missing ones', async () => {
  expect(await namesOf({ ...KEYS, PII_KEYS: '' })).toEqual(['PII_KEYS'])
})

test('the embedded database can be given keys', async () => {
  expect(await loadConfig(KEYS)).toMatchObject({ databaseUrl: undefined, keys: { index: Buffer.alloc(32, 4) } })
})

test('a database of its own needs the keys, which all replicas share', async () => {
  const problems = await problemsOf({ ...TWILIO, DATABASE_URL: 'postgresql://db/signatures' })
  expect(problems.map((problem) => problem.replace(/:.*/, ''))).toEqual(['CODE_KEYS', 'PII_KEYS', 'INDEX_KEY'])
  for (const problem of problems) expect(problem).toContain('the same for all replicas')
})

test.for([
  ['CODE_KEYS', key(1)],
  ['CODE_KEYS', `:${key(1)}`],
  ['CODE_KEYS', `a b:${key(1)}`],
  ['CODE_KEYS', `${'i'.repeat(33)}:${key(1)}`],
  ['CODE_KEYS', `a:${key(1)},`],
  ['CODE_KEYS', `a:${key(1)}, b:${key(2)}`],
  ['PII_KEYS', `a:${key(1)},a:${key(2)}`],
  ['PII_KEYS', `a:${key(1)}!`],
  ['PII_KEYS', `a:${key(1).replace('=', '')}`],
  ['PII_KEYS', `a:${Buffer.alloc(31).toString('base64')}`],
  ['INDEX_KEY', Buffer.alloc(33).toString('base64')],
  ['INDEX_KEY', Buffer.alloc(32, 255).toString('base64url')],
  ['INDEX_KEY', `a:${key(1)}`],
] as const)('malformed keys are refused: %s=%s', async ([name, value]) => {
  expect(await namesOf({ ...KEYS, [name]: value })).toEqual([name])
})

test('production refuses to start on defaults and names everything that is missing', async () => {
  expect(await namesOf({ NODE_ENV: 'production' })).toEqual([
    'CODE_KEYS',
    'DATABASE_URL',
    'INDEX_KEY',
    'PII_KEYS',
    'TWILIO_*, VONAGE_* or FCM_SERVICE_ACCOUNT',
  ])
})

test('in production any one vendor will do', async () => {
  const { TWILIO_ACCOUNT_SID, TWILIO_AUTH_TOKEN, TWILIO_FROM_NUMBER, ...others } = PRODUCTION
  const withVonage = await loadConfig({ ...others, ...VONAGE })
  expect(Object.keys(withVonage.vendors)).toEqual(['vonage'])
  const fcm = { FCM_SERVICE_ACCOUNT: serviceAccount() }
  const withFcm = await loadConfig({ ...others, ...fcm })
  expect(Object.keys(withFcm.vendors)).toEqual(['fcm'])
})

test.for([
  'postgres://bank:pw@db/signatures?sslmode=verify-full',
  'postgres://bank:pw@db/signatures?sslmode=verify-ca&sslrootcert=/etc/ssl/db.pem&uselibpqcompat=true',
  'postgres://a:5432,b:5433/signatures?sslmode=verify-full&target_session_attrs=read-write',
  'postgres://bank:pw@localhost:5433/signatures',
  'postgres://bank:p@ss@127.0.0.1/signatures?sslmode=disable',
  'postgres://[::1]:5432/signatures',
  'postgres://%2Fvar%2Frun%2Fpostgresql/signatures',
  'postgres:///signatures?host=/var/run/postgresql',
  'postgres:///signatures?host=localhost,::1',
  'postgres:///signatures',
])('%s is a database that production talks to', (url) => {
  expect(isOpenToOthers(url)).toBe(false)
})

test.for([
  'postgres://bank:pw@db/signatures',
  'postgres://bank:pw@db/signatures?sslmode=disable',
  'postgres://bank:pw@db/signatures?sslmode=prefer',
  'postgres://bank:pw@db/signatures?sslmode=require',
  'postgres://bank:pw@db/signatures?sslmode=no-verify',
  'postgres://bank:pw@db/signatures?ssl=true',
  'postgres://bank:pw@db/signatures?sslmode=verify-full&sslmode=disable',
  'postgres://bank:pw@db/signatures#?sslmode=verify-full',
  'postgres://localhost/signatures?host=db',
  'postgres://localhost@db/signatures',
  'postgres://localhost.bank.example/signatures',
  'postgres://127.0.0.1,db/signatures',
  'postgres://localhost:5432,db:5432/signatures',
  'postgres:///signatures?host=/var/run/postgresql,db',
])('%s is one that others could listen to', (url) => {
  expect(isOpenToOthers(url)).toBe(true)
})

test('production takes a database without TLS when it is told to, and only then', async () => {
  const env = { ...PRODUCTION, DATABASE_URL: 'postgres://bank:pw@db/signatures' }
  expect(await problemsOf(env)).toEqual([expect.stringMatching(/^DATABASE_URL: must have sslmode=.*DATABASE_TLS=off/)])
  expect(await problemsOf({ ...env, DATABASE_TLS: 'off' })).toEqual([])
  expect(await namesOf({ ...env, DATABASE_TLS: 'no' })).toEqual(['DATABASE_TLS', 'DATABASE_URL'])
  expect(await problemsOf({ ...env, NODE_ENV: 'development' })).toEqual([])
})

test('the sandbox stands in beside a database on another machine only when NODE_ENV says so', async () => {
  const env = { ...KEYS, DATABASE_URL: 'postgres://bank:pw@db/signatures' }
  expect(await namesOf(env)).toEqual(['NODE_ENV'])
  expect(await problemsOf({ ...env, NODE_ENV: 'development' })).toEqual([])
  expect(await problemsOf({ ...env, ...TWILIO })).toEqual([])
  expect(await problemsOf({ ...env, DATABASE_URL: 'postgres://bank:pw@localhost/signatures' })).toEqual([])
})

test('production calls Twilio over https only', async () => {
  expect(await namesOf({ ...PRODUCTION, TWILIO_API_URL: 'http://127.0.0.1:8025' })).toEqual(['TWILIO_API_URL'])
})

test('a secret can come from a file, without the white space around it', async () => {
  const path = await file('token', '\ta-token-from-a-file\r\n\n')
  const config = await loadConfig({ ...TWILIO, TWILIO_AUTH_TOKEN: '', TWILIO_AUTH_TOKEN_FILE: path })
  expect(config.vendors.twilio?.config).toMatchObject({ authToken: 'a-token-from-a-file' })
})

test('what comes from a file can be read again, with the same rules as at the start', async () => {
  const path = await file('rotated', 'first')
  const config = await loadConfig({ ...TWILIO, TWILIO_AUTH_TOKEN: '', TWILIO_AUTH_TOKEN_FILE: path })
  await writeFile(path, 'second')
  const { signal } = new AbortController()
  expect(await config.readAgain?.(signal)).toMatchObject({ vendors: { twilio: { config: { authToken: 'second' } } } })
  await writeFile(path, 'no token')
  await expect(config.readAgain?.(signal)).rejects.toThrow('TWILIO_AUTH_TOKEN: must be a token without white space')
})

test('a secret that is set twice is refused', async () => {
  const env = { ...TWILIO, TWILIO_AUTH_TOKEN_FILE: await file('twice', 'x') }
  expect(await problemsOf(env)).toEqual(['TWILIO_AUTH_TOKEN: must not be set together with TWILIO_AUTH_TOKEN_FILE'])
})

test('a secret file that is empty, a directory or not there is a problem of its own, not a missing secret', async () => {
  const env = {
    DATABASE_URL_FILE: directory,
    CODE_KEYS_FILE: join(directory, 'gone'),
    PII_KEYS_FILE: await file('empty', ' \n'),
    INDEX_KEY: key(4),
  }
  expect(await namesOf(env)).toEqual(['CODE_KEYS_FILE', 'DATABASE_URL_FILE', 'PII_KEYS_FILE'])
  expect((await problemsOf(env)).join()).not.toContain(directory)
})

test('an aborted start throws the reason of the abort', async () => {
  const reason = new Error('stopping')
  await expect(loadConfig({ GRPC_PORT: 'x' }, AbortSignal.abort(reason))).rejects.toBe(reason)
})

test('an environment that is nearly production is refused, not taken for a developer’s', async () => {
  expect(await namesOf({ ...PRODUCTION, NODE_ENV: 'prod' })).toEqual(['NODE_ENV'])
})

test.for([
  ['no JSON', '{'],
  ['JSON of another kind', '[]'],
  ['no project', serviceAccount({ project_id: '' })],
  ['a project that is no path', serviceAccount({ project_id: '../other' })],
  ['no e-mail', serviceAccount({ client_email: 7 })],
  ['no key', serviceAccount({ private_key: 'secret-but-no-key' })],
  ['a key of another kind', serviceAccount({ private_key: ecKey() })],
  ['no token address', serviceAccount({ token_uri: undefined })],
] as const)('a service account with %s is refused, and nothing of it is told', async ([, json]) => {
  const [problem, ...others] = await problemsOf({ FCM_SERVICE_ACCOUNT: json })
  expect(others).toEqual([])
  expect(problem).toMatch(
    /^FCM_SERVICE_ACCOUNT: must be the JSON key of a Google service account: .*; or metadata-server$/,
  )
  expect(problem).not.toContain('PRIVATE KEY')
  expect(problem).not.toContain('secret-but-no-key')
})

test.for([
  serviceAccount({ token_uri: 'http://127.0.0.1/token' }),
  externalAccount({ token_url: 'http://127.0.0.1/token' }),
  externalAccount({ service_account_impersonation_url: 'http://127.0.0.1/x:generateAccessToken' }),
])('production asks Google for tokens over https only', async (json) => {
  const env = { FCM_SERVICE_ACCOUNT: json, FCM_PROJECT_ID: 'bank-app' }
  expect(await problemsOf(env)).toEqual([])
  expect(await problemsOf({ ...PRODUCTION, ...env })).toHaveLength(1)
})

test('an external account takes its subject token from a file or a URL, as text or JSON', async () => {
  const account = {
    type: 'external_account',
    projectId: undefined,
    audience: EXTERNAL.audience,
    subjectTokenType: EXTERNAL.subject_token_type,
    tokenUrl: EXTERNAL.token_url,
    impersonationUrl: undefined,
    lifetimeSeconds: 3_600,
  }
  const env = { ...PRODUCTION, FCM_PROJECT_ID: 'bank-app' }
  expect((await loadConfig({ ...env, FCM_SERVICE_ACCOUNT: externalAccount() })).vendors.fcm?.config).toMatchObject({
    credentials: { ...account, source: { file: '/var/run/token', field: undefined } },
    projectId: 'bank-app',
  })
  const url = 'http://169.254.169.254/metadata/identity/oauth2/token?api-version=2018-02-01&resource=api'
  const format = { type: 'json', subject_token_field_name: 'access_token' }
  const other = externalAccount({
    credential_source: { url, headers: { Metadata: 'True' }, format },
    service_account_impersonation_url: 'https://iam.example/v1/x:generateAccessToken',
    service_account_impersonation: { token_lifetime_seconds: 1_800 },
  })
  expect((await loadConfig({ ...env, FCM_SERVICE_ACCOUNT: other })).vendors.fcm?.config).toHaveProperty('credentials', {
    ...account,
    impersonationUrl: 'https://iam.example/v1/x:generateAccessToken',
    lifetimeSeconds: 1_800,
    source: { url, headers: { Metadata: 'True' }, field: 'access_token' },
  })
})

test.for([
  ['no audience', { audience: undefined }],
  ['no token address', { token_url: 'sts.googleapis.com' }],
  ['no source', { credential_source: undefined }],
  ['a source that is a program', { credential_source: { executable: { command: 'whoami' } } }],
  ['a source that is AWS', { credential_source: { environment_id: 'aws1', regional_cred_verification_url: 'x' } }],
  ['a source that is no web address', { credential_source: { url: 'file:///etc/passwd' } }],
  ['JSON without a field', { credential_source: { file: '/x', format: { type: 'json' } } }],
  ['another format', { credential_source: { file: '/x', format: { type: 'xml' } } }],
  ['a wrong impersonation', { service_account_impersonation_url: 7 }],
  ['a wrong lifetime', { service_account_impersonation: { token_lifetime_seconds: 'long' } }],
] as const)('an external account with %s is refused', async ([, fields]) => {
  const env = { FCM_SERVICE_ACCOUNT: externalAccount(fields), FCM_PROJECT_ID: 'bank-app' }
  expect(await namesOf(env)).toEqual(['FCM_SERVICE_ACCOUNT'])
})

test('credentials that name no project need one, but the metadata server knows it', async () => {
  expect(await namesOf({ FCM_SERVICE_ACCOUNT: externalAccount() })).toEqual(['FCM_PROJECT_ID'])
  const env = { FCM_SERVICE_ACCOUNT: 'metadata-server' }
  const credentials = { type: 'metadata_server', projectId: undefined, url: 'http://metadata.google.internal' }
  expect((await loadConfig(env)).vendors.fcm?.config).toMatchObject({ projectId: undefined, credentials })
  const elsewhere = { ...env, GCE_METADATA_HOST: '127.0.0.1:8080', FCM_PROJECT_ID: 'bank-app' }
  expect((await loadConfig(elsewhere)).vendors.fcm?.config).toMatchObject({
    projectId: 'bank-app',
    credentials: { ...credentials, url: 'http://127.0.0.1:8080' },
  })
  expect(await namesOf({ ...elsewhere, GCE_METADATA_HOST: 'a/b' })).toEqual(['GCE_METADATA_HOST'])
})

test('the credentials of a vendor are set together or not at all, in production too', async () => {
  const half = { VONAGE_API_KEY: 'vonage-key' }
  for (const env of [half, { ...PRODUCTION, ...half }]) {
    expect(await problemsOf(env)).toEqual([
      'VONAGE_API_SECRET: is required with the other Vonage credentials; set VONAGE_API_SECRET or VONAGE_API_SECRET_FILE',
      'VONAGE_FROM: is required with the other Vonage credentials; set VONAGE_FROM or VONAGE_FROM_FILE',
    ])
  }
  expect(Object.keys((await loadConfig(PRODUCTION)).vendors)).toEqual(['twilio'])
})

function ecKey(): string {
  return generateKeyPairSync('ec', { namedCurve: 'P-256' })
    .privateKey.export({ type: 'pkcs8', format: 'pem' })
    .toString()
}
