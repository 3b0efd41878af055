import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { ConfigError, loadConfig } from '../../src/config.ts'
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
    twilio: { accountSid: SID, authToken: 'from-vault', fromNumber: '+15005550006' },
    vonage: { apiKey: 'vonage-key', apiSecret: 'vonage-secret', from: 'Bank' },
    keys: { code: { currentId: 'c' }, pii: { currentId: 'p' }, index: Buffer.alloc(32, 3) },
  })
  expect(vault.requests.map(({ method, path }) => `${method} ${path}`).sort()).toEqual([
    'GET /v1/secret/data/signature-router/database',
    'GET /v1/secret/data/signature-router/keys',
    'GET /v1/secret/data/signature-router/providers/fcm',
    'GET /v1/secret/data/signature-router/providers/twilio',
    'GET /v1/secret/data/signature-router/providers/vonage',
  ])
})

test('the token can come from a file', async () => {
  env = { ...env, VAULT_TOKEN: '', VAULT_TOKEN_FILE: join(directory, 'token') }
  await writeFile(join(directory, 'token'), `${vault.token}\n`)
  expect((await loadConfig(env)).twilio?.authToken).toBe('from-vault')
})

test('AppRole logs in with the role and secret ids', async () => {
  vault.logins.set('approle', { role_id: 'the-role-id', secret_id: 'the-secret-id' })
  await writeFile(join(directory, 'secret-id'), 'the-secret-id\n')
  const secretIdFile = join(directory, 'secret-id')
  env = { ...env, VAULT_AUTH: 'approle', VAULT_ROLE_ID: 'the-role-id', VAULT_SECRET_ID_FILE: secretIdFile }
  expect((await loadConfig(env)).twilio?.authToken).toBe('from-vault')
  expect(vault.requests[0]).toMatchObject({ method: 'POST', path: '/v1/auth/approle/login' })
})

test('Kubernetes logs in with the service account, at another mount if told so', async () => {
  vault.logins.set('clusters/one', { role: 'signature-router', jwt: 'service.account.jwt' })
  const tokenFile = join(directory, 'jwt')
  await writeFile(tokenFile, 'service.account.jwt\n')
  env = { ...env, VAULT_AUTH: 'kubernetes', VAULT_AUTH_MOUNT: 'clusters/one' }
  env = { ...env, VAULT_KUBERNETES_ROLE: 'signature-router', VAULT_KUBERNETES_TOKEN_FILE: tokenFile }
  expect((await loadConfig(env)).twilio?.authToken).toBe('from-vault')
})

test('a login serves the reads after it for half of its life, and no longer once Vault refuses it', async () => {
  vault.logins.set('approle', { role_id: 'the-role-id', secret_id: 'the-secret-id' })
  env = { ...env, VAULT_AUTH: 'approle', VAULT_ROLE_ID: 'the-role-id', VAULT_SECRET_ID: 'the-secret-id' }
  const logins = () => vault.requests.filter(({ method }) => method === 'POST').length
  const { signal } = new AbortController()

  vault.leaseSeconds = 3_600
  const { readAgain } = await loadConfig(env)
  store('providers/twilio', { 'account-sid': SID, 'auth-token': 'rotated', 'from-number': '+15005550006' })
  expect(await readAgain?.(signal)).toMatchObject({ twilio: { authToken: 'rotated' } })
  expect(logins()).toBe(1)

  vault.token = 'hvs.after-a-revocation'
  vault.leaseSeconds = 0
  await expect(readAgain?.(signal)).rejects.toThrow('Vault refused the read (403)')
  expect(await readAgain?.(signal)).toMatchObject({ twilio: { authToken: 'rotated' } })
  await readAgain?.(signal)
  expect(logins()).toBe(3)
})

test('the mount, prefix and namespace can be set', async () => {
  vault.secrets.set('bank/signing/keys', {
    'code-keys': `other:${key(1)}`,
    'pii-keys': `p:${key(2)}`,
    'index-key': key(3),
  })
  env = { ...env, VAULT_NAMESPACE: 'payments/', VAULT_KV_MOUNT: '/secret/', VAULT_PATH_PREFIX: 'bank/signing' }
  expect(await loadConfig(env)).toMatchObject({ keys: { code: { currentId: 'other' } }, twilio: undefined })
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
  expect(await loadConfig(env)).toMatchObject({ databaseUrl: undefined, twilio: undefined, keys: undefined })
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
  env = { ...env, VAULT_TOKEN: 'hvs.expired', GRPC_PORT: 'x' }
  expect(await problems()).toEqual([
    'GRPC_PORT: must be a whole number from 0 to 65535',
    ...['database', 'keys', 'providers/twilio', 'providers/vonage', 'providers/fcm'].map(
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
  ['garbage', /^VAULT_ADDR: must be a Vault; it answered a read of \S+ with status 200 and nothing usable$/],
  ['huge', /^VAULT_ADDR: must be a Vault; it answered a read of \S+ with status 200 and nothing usable$/],
  ['redirect', /^VAULT_ADDR: must be a Vault; it answered a read of \S+ with status 307 and nothing usable$/],
  ['hang', /^VAULT_ADDR: must be a Vault that can be reached \(no answer within 5 s\)$/],
])('a Vault whose answer is "%s" is a problem of VAULT_ADDR', async ([mode, expected]) => {
  vault.mode = mode
  const found = await problems()
  expect(found.length).toBe(new Set(found).size)
  for (const problem of found) expect(problem).toMatch(expected)
  expect(vault.requests).toHaveLength(5)
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
  expect(performance.now() - before).toBeLessThan(2_000)
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
