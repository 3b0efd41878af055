import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { type Config, ConfigError, loadConfig } from '../../src/config.ts'
import { type FakeVault, startFakeVault, type VaultMode } from '../support/fake-vault.ts'

const SID = `AC${'0'.repeat(32)}`
const key = (byte: number) => Buffer.alloc(32, byte).toString('base64')

let vault: FakeVault
let env: Record<string, string>
let directory: string

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'vault-'))
  vault = await startFakeVault()
  env = { SECRETS_SOURCE: 'vault', VAULT_ADDR: vault.url, VAULT_TOKEN: vault.token }
  store('providers/twilio', { 'account-sid': SID, 'auth-token': 'from-vault', 'from-number': '+15005550006' })
  store('providers/vonage', { 'api-key': 'vonage-key', 'api-secret': 'vonage-secret', from: 'Bank' })
  store('database', { url: 'postgres://bank:db-password@db/signatures?sslmode=verify-full' })
  store('keys', { 'code-keys': `c:${key(1)}`, 'pii-keys': `p:${key(2)}`, 'index-key': key(3) })
})
afterEach(async () => {
  await vault[Symbol.asyncDispose]()
  await rm(directory, { recursive: true })
})

function store(path: string, fields: Record<string, unknown>): void {
  vault.secrets.set(`signature-router/${path}`, fields)
}

/** Also promises that no problem holds a secret, whichever way the start failed. */
async function problems(): Promise<string[]> {
  const error = await loadConfig(env).then(
    () => undefined,
    (error: unknown) => error,
  )
  if (!(error instanceof ConfigError)) throw new Error('no ConfigError', { cause: error })
  const secrets = [...vault.secrets.values(), ...vault.logins.values()].flatMap((fields) => Object.values(fields))
  for (const value of [...secrets, vault.token, env.VAULT_TOKEN, vault.url])
    if (value) expect(`${error.stack} ${error.cause}`).not.toContain(String(value))
  return error.problems
}

test('secrets are read with a token, each path once', async () => {
  expect(await loadConfig({ ...env, NODE_ENV: 'production' })).toMatchObject({
    databaseUrl: 'postgres://bank:db-password@db/signatures?sslmode=verify-full',
    vendors: {
      twilio: { config: { accountSid: SID, authToken: 'from-vault', fromNumber: '+15005550006' } },
      vonage: { config: { apiKey: 'vonage-key', apiSecret: 'vonage-secret', from: 'Bank' } },
    },
    keys: { code: { currentId: 'c' }, pii: { currentId: 'p' }, index: Buffer.alloc(32, 3) },
  })
  expect(vault.requests.map(({ method, path }) => `${method} ${path}`).sort()).toEqual([
    'GET /v1/secret/data/signature-router/database',
    'GET /v1/secret/data/signature-router/keys',
    'GET /v1/secret/data/signature-router/providers/fcm',
    'GET /v1/secret/data/signature-router/providers/twilio',
    'GET /v1/secret/data/signature-router/providers/vonage',
    'POST /v1/auth/token/renew-self',
  ])
})

test('the token can come from a file', async () => {
  env = { ...env, VAULT_TOKEN: '', VAULT_TOKEN_FILE: join(directory, 'token') }
  await writeFile(join(directory, 'token'), `${vault.token}\n`)
  expect((await loadConfig(env)).vendors.twilio?.config).toMatchObject({ authToken: 'from-vault' })
})

test('AppRole logs in with the role and secret ids', async () => {
  vault.logins.set('approle', { role_id: 'the-role-id', secret_id: 'the-secret-id' })
  await writeFile(join(directory, 'secret-id'), 'the-secret-id\n')
  const secretIdFile = join(directory, 'secret-id')
  env = { ...env, VAULT_AUTH: 'approle', VAULT_ROLE_ID: 'the-role-id', VAULT_SECRET_ID_FILE: secretIdFile }
  expect((await loadConfig(env)).vendors.twilio?.config).toMatchObject({ authToken: 'from-vault' })
  expect(vault.requests[0]).toMatchObject({ method: 'POST', path: '/v1/auth/approle/login' })
})

test('Kubernetes logs in with the service account, at another mount if told so', async () => {
  vault.logins.set('clusters/one', { role: 'signature-router', jwt: 'service.account.jwt' })
  const tokenFile = join(directory, 'jwt')
  await writeFile(tokenFile, 'service.account.jwt\n')
  env = { ...env, VAULT_AUTH: 'kubernetes', VAULT_AUTH_MOUNT: 'clusters/one' }
  env = { ...env, VAULT_KUBERNETES_ROLE: 'signature-router', VAULT_KUBERNETES_TOKEN_FILE: tokenFile }
  expect((await loadConfig(env)).vendors.twilio?.config).toMatchObject({ authToken: 'from-vault' })
})

const APPROLE = { VAULT_AUTH: 'approle', VAULT_ROLE_ID: 'the-role-id', VAULT_SECRET_ID: 'the-secret-id' }
const RENEWABLE = { ttlSeconds: 3_600, maxTtlSeconds: 86_400, renewable: true, uses: 0 }

/** How many requests went to a path that ends so. */
function count(ending: string): number {
  return vault.requests.filter(({ path }) => path.endsWith(ending)).length
}

/** Reads again, that long after the last time. Vault and its reader are in this process, and live by its clock. */
async function readAfter(seconds: number, { readAgain }: Config): Promise<Config | undefined> {
  vi.advanceTimersByTime(seconds * 1_000)
  return readAgain?.(new AbortController().signal)
}

beforeEach(() => void vi.useFakeTimers({ toFake: ['performance'] }))
afterEach(() => void vi.useRealTimers())

describe('a login', () => {
  beforeEach(() => {
    vault.logins.set('approle', { role_id: 'the-role-id', secret_id: 'the-secret-id' })
    env = { ...env, ...APPROLE, VAULT_TOKEN: '' }
  })

  test('with a secret id of one use serves every read while its token lives, which is renewed', async () => {
    vault.terms = RENEWABLE
    vault.loginsLeft = 1
    const config = await loadConfig(env)
    store('providers/twilio', { 'account-sid': SID, 'auth-token': 'rotated', 'from-number': '+15005550006' })
    const twoHours = Array.from({ length: 12 }, () => 600)
    for (const seconds of twoHours)
      expect(await readAfter(seconds, config)).toMatchObject({
        vendors: { twilio: { config: { authToken: 'rotated' } } },
      })
    // Each time that half of its hour was over.
    expect([count('/login'), count('/renew-self')]).toEqual([1, 4])
  })

  test.for([
    ['its maximum life is over', { ...RENEWABLE, maxTtlSeconds: 5_400 }],
    ['its token, which can not be renewed, has expired', { ...RENEWABLE, renewable: false }],
  ] as const)('comes again when %s, and no read fails', async ([, terms]) => {
    vault.terms = terms
    const config = await loadConfig(env)
    for (const seconds of [1_790, 1_790]) await readAfter(seconds, config)
    expect(count('/login')).toBe(1)
    for (const seconds of [1_900, 1_900]) await readAfter(seconds, config)
    expect(count('/login')).toBe(2)
  })

  test.for([
    ['was revoked', RENEWABLE],
    ['has no use left', { ...RENEWABLE, uses: 7 }],
  ] as const)('comes again in the midst of a read whose token %s', async ([, terms]) => {
    vault.terms = terms
    const config = await loadConfig(env)
    if (terms.uses === 0) vault.revokeAll()
    store('providers/twilio', { 'account-sid': SID, 'auth-token': 'rotated', 'from-number': '+15005550006' })
    expect(await config.readAgain?.(new AbortController().signal)).toMatchObject({
      vendors: { twilio: { config: { authToken: 'rotated' } } },
    })
    expect(count('/login')).toBe(2)
  })

  test('does not come again for a path that its token may not read', async () => {
    vault.terms = RENEWABLE
    vault.loginsLeft = 1
    const { readAgain } = await loadConfig(env)
    vault.forbidden.add('signature-router/keys')
    for (const _ of [1, 2]) {
      await expect(readAgain?.(new AbortController().signal)).rejects.toThrow('keys under it must be readable')
    }
    vault.forbidden.clear()
    await readAgain?.(new AbortController().signal)
    expect(count('/login')).toBe(1)
  })

  test('whose token lives for less than the time between reads is read again within half of that', async () => {
    vault.terms = { ...RENEWABLE, ttlSeconds: 20 }
    expect(await loadConfig({ ...env, SECRETS_REFRESH_SECONDS: '3600' })).toMatchObject({ secretsRefreshMs: 10_000 })
    expect(await loadConfig({ ...env, SECRETS_REFRESH_SECONDS: '5' })).toMatchObject({ secretsRefreshMs: 5_000 })
  })
})

describe('a token that was given', () => {
  test('is renewed when it can be, at the start and then in good time', async () => {
    vault.terms = RENEWABLE
    const token = vault.issue()
    vi.advanceTimersByTime(3_000_000)
    const config = await loadConfig({ ...env, VAULT_TOKEN: token })
    for (const seconds of [1_000, 1_000, 1_000, 1_000]) await readAfter(seconds, config)
    expect(count('/renew-self')).toBe(3)
  })

  test('can be replaced in its file, by one that is renewed in its turn', async () => {
    const file = join(directory, 'token')
    vault.terms = RENEWABLE
    await writeFile(file, vault.issue())
    const config = await loadConfig({ ...env, VAULT_TOKEN: '', VAULT_TOKEN_FILE: file })
    vault.revokeAll()
    await writeFile(file, vault.issue())
    expect(await config.readAgain?.(new AbortController().signal)).toMatchObject({
      vendors: { twilio: { config: { authToken: 'from-vault' } } },
    })
    expect(count('/renew-self')).toBe(2)
  })

  test('that has expired or was revoked is one problem, at each read the same', async () => {
    const { readAgain } = await loadConfig(env)
    vault.revokeAll()
    for (const _ of [1, 2, 3]) {
      await expect(readAgain?.(new AbortController().signal)).rejects.toMatchObject({
        problems: ['VAULT_TOKEN: must be a token that Vault knows; it has expired or was revoked (403)'],
      })
    }
    vault.issue(vault.token)
    expect(await readAgain?.(new AbortController().signal)).toMatchObject({
      vendors: { twilio: { config: { authToken: 'from-vault' } } },
    })
  })
})

test('the mount, prefix and namespace can be set', async () => {
  vault.secrets.set('bank/signing/keys', {
    'code-keys': `other:${key(1)}`,
    'pii-keys': `p:${key(2)}`,
    'index-key': key(3),
  })
  env = { ...env, VAULT_NAMESPACE: 'payments/', VAULT_KV_MOUNT: '/secret/', VAULT_PATH_PREFIX: 'bank/signing' }
  expect(await loadConfig(env)).toMatchObject({ keys: { code: { currentId: 'other' } } })
  for (const { headers } of vault.requests) expect(headers['x-vault-namespace']).toBe('payments')
})

test('a secret in the environment as well is refused, whether it is the same or not', async () => {
  env = { ...env, TWILIO_AUTH_TOKEN: 'from-vault', DATABASE_URL_FILE: '/some/file' }
  expect(await problems()).toEqual([
    'DATABASE_URL: must come from Vault alone; unset it and DATABASE_URL_FILE here',
    'TWILIO_AUTH_TOKEN: must come from Vault alone; unset it and TWILIO_AUTH_TOKEN_FILE here',
  ])
})

test('a field that is missing is named with its place', async () => {
  store('providers/twilio', { 'account-sid': SID, 'auth-token': '', 'from-number': '+15005550006' })
  expect(await problems()).toEqual([
    'TWILIO_AUTH_TOKEN: is required with the other Twilio credentials; put it in Vault, field auth-token of providers/twilio under VAULT_PATH_PREFIX',
  ])
})

test('a path that does not exist is a missing secret: fatal in production, a default elsewhere', async () => {
  vault.mode = 'missing'
  expect(await loadConfig(env)).toMatchObject({ databaseUrl: undefined, keys: undefined })
  env = { ...env, NODE_ENV: 'production' }
  expect(await problems()).toHaveLength(5)
})

test('secrets from Vault are held to the same rules as others', async () => {
  store('database', { url: 'not-a-database-url' })
  store('keys', { 'code-keys': 'not-a-key', 'pii-keys': `p:${key(2)}`, 'index-key': 12345 })
  expect(await problems()).toEqual([
    'INDEX_KEY: must be text in Vault, field index-key of keys under VAULT_PATH_PREFIX',
    expect.stringMatching(/^DATABASE_URL: must be a URL that starts with postgres:\/\/ or postgresql:\/\//),
    expect.stringMatching(/^CODE_KEYS: must be id:key pairs/),
  ])
})

test('a refused read is named with its path, and other problems with it', async () => {
  vault.forbidden.add('signature-router/keys').add('signature-router/database')
  env = { ...env, GRPC_PORT: 'x' }
  expect(await problems()).toEqual([
    'GRPC_PORT: must be a whole number from 0 to 65535',
    ...['database', 'keys'].map(
      (path) => `VAULT_PATH_PREFIX: ${path} under it must be readable with a valid token; Vault refused the read (403)`,
    ),
  ])
})

test('a refused login names the settings that it used', async () => {
  vault.logins.set('approle', { role_id: 'the-role-id', secret_id: 'the-secret-id' })
  env = { ...env, VAULT_AUTH: 'approle', VAULT_ROLE_ID: 'the-role-id', VAULT_SECRET_ID: 'wrong' }
  expect(await problems()).toEqual([
    'VAULT_ROLE_ID and VAULT_SECRET_ID: must be accepted by Vault, which refused the login (400)',
  ])
  env = { ...env, VAULT_AUTH_MOUNT: 'elsewhere' }
  expect(await problems()).toEqual(['VAULT_AUTH_MOUNT: must be where the auth method is mounted (404)'])
})

test.for<[VaultMode, RegExp]>([
  ['sealed', /^VAULT_ADDR: must be a Vault that is unsealed and in service \(503\)$/],
  ['garbage', /^VAULT_ADDR: must be a Vault; it answered the renewal of its token with status 200 and nothing usable$/],
  ['huge', /^VAULT_ADDR: must be a Vault; it answered the renewal of its token with status 200 and nothing usable$/],
  [
    'redirect',
    /^VAULT_ADDR: must be a Vault; it answered the renewal of its token with status 307 and nothing usable$/,
  ],
  ['hang', /^VAULT_ADDR: must be a Vault that can be reached \(no answer within 5 s\)$/],
])('a Vault whose answer is "%s" is a problem of VAULT_ADDR', async ([mode, expected]) => {
  vault.mode = mode
  expect(await problems()).toEqual([expect.stringMatching(expected)])
  expect(vault.requests).toHaveLength(1)
})

test('a login that answers nothing usable is a problem of VAULT_ADDR', async () => {
  vault.mode = 'garbage'
  env = { ...env, VAULT_AUTH: 'approle', VAULT_ROLE_ID: 'the-role-id', VAULT_SECRET_ID: 'the-secret-id' }
  expect(await problems()).toEqual([
    'VAULT_ADDR: must be a Vault; it answered the login with status 200 and nothing usable',
  ])
})

test('a Vault that is not there is told once', async () => {
  await using gone = await startFakeVault()
  await gone[Symbol.asyncDispose]()
  env = { ...env, VAULT_ADDR: gone.url }
  expect(await problems()).toEqual(['VAULT_ADDR: must be a Vault that can be reached (ECONNREFUSED)'])
})

test('a start that is aborted while Vault hangs ends at once', async () => {
  vault.mode = 'hang'
  const reason = new Error('stopping')
  const stop = new AbortController()
  const starting = loadConfig(env, stop.signal)
  setTimeout(() => stop.abort(reason), 50)
  const before = performance.now()
  await expect(starting).rejects.toBe(reason)
  expect(performance.now() - before).toBeLessThan(4_500)
})

test('every missing or malformed Vault setting is told at once', async () => {
  env = { SECRETS_SOURCE: 'vault', VAULT_AUTH: 'kubernetes', VAULT_KV_MOUNT: '../sys', VAULT_NAMESPACE: 'a b' }
  env = { ...env, VAULT_KUBERNETES_TOKEN_FILE: join(directory, 'gone') }
  expect((await problems()).map((problem) => problem.replace(/:.*/, ''))).toEqual([
    'VAULT_ADDR',
    'VAULT_NAMESPACE',
    'VAULT_KV_MOUNT',
    'VAULT_KUBERNETES_ROLE',
    'VAULT_KUBERNETES_TOKEN_FILE',
  ])
  env = { SECRETS_SOURCE: 'vault', VAULT_ADDR: vault.url, VAULT_TOKEN: 'two\nlines' }
  expect(await problems()).toEqual(['VAULT_TOKEN: must be a token without white space'])
  env = { SECRETS_SOURCE: 'vault', VAULT_ADDR: vault.url, VAULT_AUTH: 'magic' }
  expect(await problems()).toEqual([
    'VAULT_AUTH: must be one of token, approle, kubernetes',
    'VAULT_TOKEN: is required unless VAULT_AUTH names another method',
  ])
})

test.for(['http://vault.bank.internal:8200', 'http://10.0.0.1:8200', 'http://127.0.0.1.nip.io'])(
  'production does not send its token in clear to %s',
  async (address) => {
    env = { ...env, NODE_ENV: 'production', VAULT_ADDR: address }
    expect(await problems()).toEqual([
      'VAULT_ADDR: must be an https (http on loopback only) URL without credentials, query or fragment',
    ])
  },
)
