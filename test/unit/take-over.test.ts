import { expect, test } from 'vitest'
import { loadConfig } from '../../src/config.ts'
import { takeOver } from '../../src/secrets/take-over.ts'

const key = (byte: number) => Buffer.alloc(32, byte).toString('base64')

const ENV = {
  NODE_ENV: 'development',
  DATABASE_URL: 'postgres://router:first@db/signatures?sslmode=disable',
  DATABASE_LISTEN_URL: 'postgres://router:first@h1:6001,h2/signatures?target_session_attrs=primary',
  TWILIO_ACCOUNT_SID: `AC${'0'.repeat(32)}`,
  TWILIO_AUTH_TOKEN: 'twilio-token',
  TWILIO_FROM_NUMBER: '+15005550006',
  CODE_KEYS: `c1:${key(1)}`,
  PII_KEYS: `p1:${key(2)}`,
  INDEX_KEY: key(3),
}
const VONAGE = { VONAGE_API_KEY: 'vonage-key', VONAGE_API_SECRET: 'vonage-secret', VONAGE_FROM: 'Bank' }

/** What a process that was started with ENV makes of these changes. */
async function after(changes: Record<string, string>, env: Record<string, string> = ENV) {
  return takeOver(await loadConfig(env), await loadConfig({ ...env, ...changes }))
}

test('secrets that are the same change nothing', async () => {
  expect(await after({})).toMatchObject({ changed: [], refused: [] })
})

test.for([
  ['CODE_KEYS', `c2:${key(4)},c1:${key(1)}`],
  ['CODE_KEYS', `c1:${key(1)},c2:${key(4)}`],
  ['PII_KEYS', `p2:${key(4)},p1:${key(2)}`],
  ['PII_KEYS', `p2:${key(4)}`],
  ['TWILIO_ACCOUNT_SID', `AC${'1'.repeat(32)}`],
  ['TWILIO_AUTH_TOKEN', 'new-token'],
  ['TWILIO_AUTH_TOKEN_PREVIOUS', 'twilio-token'],
  ['TWILIO_FROM_NUMBER', '+15005550007'],
  ['TWILIO_VOICE_FROM', '+15005550007'],
  ['VONAGE_API_KEY', 'new-key'],
  ['VONAGE_API_SECRET', 'new-secret'],
  ['VONAGE_FROM', 'Bank 2'],
  ['VONAGE_SIGNATURE_SECRET', 'first-signature-secret'],
  ['DATABASE_URL', 'postgres://router:second@db/signatures?sslmode=disable'],
  ['DATABASE_URL', 'postgres://router@db/signatures?sslmode=disable&password=second'],
  ['DATABASE_LISTEN_URL', 'postgres://router:second@h1:6001,h2/signatures?target_session_attrs=primary'],
] as const)('%s is taken over and named: %s', async ([name, value]) => {
  const read = await loadConfig({ ...ENV, ...VONAGE, [name]: value })
  const taken = await after({ [name]: value }, { ...ENV, ...VONAGE })
  expect(taken).toMatchObject({ changed: [name], refused: [] })
  const { databaseUrl, databaseListenUrl, vendors, keys } = read
  expect(taken.secrets).toEqual({ databaseUrl, databaseListenUrl, vendors, keys })
})

test('the order of keys counts, as the first is current', async () => {
  const two = { ...ENV, CODE_KEYS: `c1:${key(1)},c2:${key(4)}` }
  expect(await after({ CODE_KEYS: `c2:${key(4)},c1:${key(1)}` }, two)).toMatchObject({
    changed: ['CODE_KEYS'],
    secrets: { keys: { code: { currentId: 'c2' } } },
  })
})

test.for([
  ['DATABASE_URL', 'postgres://router:first@other/signatures?sslmode=disable'],
  ['DATABASE_URL', 'postgres://router:first@db:5433/signatures?sslmode=disable'],
  ['DATABASE_URL', 'postgres://router:first@db/others?sslmode=disable'],
  ['DATABASE_URL', 'postgres://another:first@db/signatures?sslmode=disable'],
  ['DATABASE_URL', 'postgres://router:first@db/signatures?sslmode=require'],
  ['DATABASE_URL', ''],
  ['DATABASE_LISTEN_URL', 'postgres://router:first@h1:6001/signatures?target_session_attrs=primary'],
  ['DATABASE_LISTEN_URL', 'postgres://router:first@h2,h1:6001/signatures?target_session_attrs=primary'],
  ['DATABASE_LISTEN_URL', 'postgres://router:first@h1:6001,h2/signatures'],
  ['INDEX_KEY', key(9)],
  ['CODE_KEYS', `c2:${key(4)},c1:${key(9)}`],
  ['PII_KEYS', `p1:${key(9)}`],
] as const)('%s stays as it was and is named, without a value: %s', async ([name, value]) => {
  const { changed, refused, secrets } = await after({ [name]: value, TWILIO_AUTH_TOKEN: 'new-token' })
  expect(changed).toEqual(['TWILIO_AUTH_TOKEN'])
  expect(refused).toEqual([expect.stringMatching(new RegExp(`^${name}: `))])
  expect(refused.join()).not.toContain(value || 'nothing')
  const { databaseUrl, databaseListenUrl, keys } = await loadConfig(ENV)
  expect(secrets).toMatchObject({
    databaseUrl,
    databaseListenUrl,
    keys,
    vendors: { twilio: { config: { authToken: 'new-token' } } },
  })
})

test('of the keys only those with a problem stay as they were', async () => {
  const CODE_KEYS = `c2:${key(4)},c1:${key(1)}`
  const read = await loadConfig({ ...ENV, CODE_KEYS, PII_KEYS: `p2:${key(5)},p1:${key(2)}` })
  const taken = takeOver(await loadConfig(ENV), read, { CODE_KEYS: 'CODE_KEYS: c2 is another key elsewhere' })
  expect(taken).toMatchObject({ changed: ['PII_KEYS'], refused: ['CODE_KEYS: c2 is another key elsewhere'] })
  expect(taken.secrets.keys).toMatchObject({ code: { currentId: 'c1' }, pii: { currentId: 'p2' } })
})

test('a vendor that comes or goes needs a restart', async () => {
  const came = await after(VONAGE)
  expect(came.changed).toEqual([])
  expect(Object.keys(came.secrets.vendors)).toEqual(['twilio'])
  expect(came.refused).toEqual(['VONAGE_*: credentials that come or go need a restart'])
  const gone = { TWILIO_ACCOUNT_SID: '', TWILIO_AUTH_TOKEN: '', TWILIO_FROM_NUMBER: '' }
  const went = await after(gone)
  expect(went).toMatchObject({
    changed: [],
    secrets: { vendors: { twilio: { config: { authToken: 'twilio-token' } } } },
  })
  expect(went.refused).toEqual(['TWILIO_*: credentials that come or go need a restart'])
})

test('an API key is taken over, also in the place of the auth token', async () => {
  const key = { TWILIO_API_KEY_SID: `SK${'0'.repeat(32)}`, TWILIO_API_KEY_SECRET: 'key-secret' }
  const { changed, refused } = await after({ ...key, TWILIO_AUTH_TOKEN: '' })
  expect(changed).toEqual(['TWILIO_AUTH_TOKEN', 'TWILIO_API_KEY_SID', 'TWILIO_API_KEY_SECRET'])
  expect(refused).toEqual([])
})

test('a number for calls that comes or goes needs a restart', async () => {
  const { changed, refused, secrets } = await after({ TWILIO_FROM_NUMBER: 'BANK' })
  expect(changed).toEqual([])
  expect(refused).toEqual(['TWILIO_VOICE_FROM: a number for calls that comes or goes needs a restart'])
  expect(secrets.vendors.twilio?.config).toMatchObject({ fromNumber: ENV.TWILIO_FROM_NUMBER })
})

test('keys that come or go need a restart', async () => {
  const { DATABASE_URL, ...embedded } = ENV
  const { changed, refused, secrets } = await after({ CODE_KEYS: '', PII_KEYS: '', INDEX_KEY: '' }, embedded)
  expect(changed).toEqual([])
  expect(refused).toEqual([expect.stringContaining('need a restart')])
  expect(secrets.keys?.code.currentId).toBe('c1')
})
