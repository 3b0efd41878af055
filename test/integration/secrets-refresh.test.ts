import { type ChildProcess, spawn } from 'node:child_process'
import { randomBytes, randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { buffer } from 'node:stream/consumers'
import { Code, createClient } from '@connectrpc/connect'
import { createGrpcTransport } from '@connectrpc/connect-node'
import { sql } from 'kysely'
import pg from 'pg'
import { afterAll, beforeAll, expect, inject, test, vi } from 'vitest'
import { SignatureService, SignatureStatus } from '../../gen/bank/signature/v1/signature_pb.ts'
import { type App, failure, randomKey, start, startApp, startRequest, transaction } from '../support/app.ts'
import { haveLogged, linesOf, problemsIn, readsThat, signSteadily } from '../support/rotation.ts'
import { secretFiles, secretsInVault, secretsOf } from '../support/secret-places.ts'
import {
  fromTwilio,
  post,
  twilioParams,
  twilioSignature,
  twilioTarget,
  vonageReceipt,
  type Webhook,
} from '../support/webhooks.ts'

/** The same in all tests: under one id the database knows one key. */
const K2 = `k2:${randomKey()}`
const QUICKLY = { SECRETS_REFRESH_SECONDS: '1' }

let app: App
beforeAll(async () => {
  app = await startApp()
})
afterAll(() => app[Symbol.asyncDispose]())

const PLACES: [string, typeof secretFiles][] = [
  ['files', secretFiles],
  ['Vault', secretsInVault],
]

const SPOILT: typeof PLACES = [...PLACES, ['a token for Vault', (secrets) => secretsInVault(secrets, 'token revoked')]]

test.for(SPOILT)(
  '%s that can not be read leave the secrets as they are, said once, until they can',
  async ([, put]) => {
    await using place = await put(secretsOf(app.env))
    const replica = await app.replica({ ...place.env, ...QUICKLY })
    await place.spoil()
    await vi.waitFor(async () => expect(await readsThat(replica, 'failed')).toBeGreaterThanOrEqual(3), 20_000)
    const [line, ...more] = linesOf(replica, 'secrets not read, the last ones stay')
    // What is spoilt in the midst of a read may take two of them to be known.
    expect(more.length).toBeLessThanOrEqual(1)
    expect(line).toMatchObject({
      level: 'error',
      problems: expect.arrayContaining([expect.stringMatching(/^[A-Z_]+: must/)]),
    })
    const { signatureId, code } = await start(replica)
    await replica.client.completeSignature({ signatureId, code, transaction: transaction() })

    await place.mend()
    await haveLogged([replica], 'secrets read without a problem again')
    const CODE_KEYS = `${K2},${app.env.CODE_KEYS}`
    await place.put({ CODE_KEYS })
    await haveLogged([replica], 'secrets changed', { secrets: ['CODE_KEYS'], code_key_id: 'k2' })
  },
)

test('secrets that are wrong are told of without a word of them, and nothing of that read is used', async () => {
  await using place = await secretFiles(secretsOf(app.env))
  const replica = await app.replica({ ...place.env, ...QUICKLY, LOG_LEVEL: 'trace' })
  const canaries = {
    CODE_KEYS: 'canary-no-key:Y2FuYXJ5',
    DATABASE_URL: 'mysql://canary:canary-password@canary-host/db',
    TWILIO_ACCOUNT_SID: 'canary-account',
    VONAGE_SIGNATURE_SECRET: 'canary signature secret',
    FCM_SERVICE_ACCOUNT: '{"private_key":"canary-private-key"}',
  }
  await place.put({ ...canaries, TWILIO_AUTH_TOKEN: 'canary-token-that-would-do' })
  await haveLogged([replica], 'secrets not read, the last ones stay')
  // Files that are written in the midst of a read may take two of them.
  const named = () => problemsIn(replica, 'secrets not read, the last ones stay')
  await vi.waitFor(() => expect(named()).toEqual(new Set(Object.keys(canaries))), 20_000)
  await start(replica)
  expect(linesOf(replica, 'secrets changed')).toEqual([])
  expect(JSON.stringify(replica.logs) + (await replica.metrics())).not.toMatch(/canary|Y2FuYXJ5/)
})

test('what needs a restart is told once, and the rest is taken over', async () => {
  await using place = await secretFiles(secretsOf(app.env))
  const replica = await app.replica({ ...place.env, ...QUICKLY })
  await start(replica, { customerId: 'before-the-index-key' })
  const elsewhere = Object.assign(new URL(app.env.DATABASE_URL ?? ''), { hostname: 'canary.invalid' }).href
  await place.put({
    INDEX_KEY: randomKey(),
    DATABASE_URL: elsewhere,
    PII_KEYS: `p2:${randomKey()},${app.env.PII_KEYS}`,
  })
  await haveLogged([replica], 'secrets changed', { secrets: ['PII_KEYS'], pii_key_id: 'p2' })
  await vi.waitFor(async () => expect(await readsThat(replica, 'refused')).toBeGreaterThanOrEqual(3), 20_000)
  expect(problemsIn(replica, 'changed secrets not taken over')).toEqual(new Set(['DATABASE_URL', 'INDEX_KEY']))
  // Written in the midst of a read, they are told in two lines.
  expect(linesOf(replica, 'changed secrets not taken over').length).toBeLessThanOrEqual(2)
  expect(JSON.stringify(replica.logs)).not.toContain('canary')
  const { signatures } = await replica.client.listSignatures({ customerId: 'before-the-index-key' })
  expect(signatures).toHaveLength(1)
})

/** In front of the sandbox: as Twilio, which takes any of an account's tokens, while the sandbox has but one. */
async function startTwilio(tokens: Set<string>) {
  const { accountSid, authToken } = inject('accounts').twilio
  const authorization = (token: string) => `Basic ${Buffer.from(`${accountSid}:${token}`).toString('base64')}`
  const used = new Set<string>()
  const server = createServer(async (request, response) => {
    const token = [...tokens].find((each) => request.headers.authorization === authorization(each))
    if (token === undefined) return void response.writeHead(401).end('{"code":20003}')
    used.add(token)
    const { method = '', url } = request
    const body = await buffer(request)
    const headers = {
      authorization: authorization(authToken),
      'content-type': String(request.headers['content-type']),
    }
    const answer = await fetch(`${app.sandbox.url}${url}`, { method, headers, body: body.length > 0 ? body : null })
    response.writeHead(answer.status, { 'content-type': 'application/json' }).end(await answer.text())
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    used,
    async [Symbol.asyncDispose]() {
      server.close()
      server.closeAllConnections()
    },
  }
}

/** A receipt of no message of ours, as Twilio signs it with this token. */
function receiptSignedWith(token: string, { server }: Pick<App, 'server'>): Webhook {
  const target = twilioTarget({ challengeId: randomUUID() })
  const params = twilioParams({ sid: `SM${'0'.repeat(32)}`, status: 'delivered' })
  const webhook = fromTwilio({ server }, target, params)
  const signature = twilioSignature(token, `http://127.0.0.1:${server.httpPort}${target}`, params)
  return { ...webhook, headers: { ...webhook.headers, 'x-twilio-signature': signature } }
}

test("Twilio's next token is taken over under load, and receipts signed with either are accepted", async () => {
  const { authToken: old } = inject('accounts').twilio
  const next = randomBytes(16).toString('hex')
  const tokens = new Set([old, next])
  await using twilio = await startTwilio(tokens)
  await using place = await secretsInVault(secretsOf(app.env))
  const env = { ...place.env, ...QUICKLY, TWILIO_API_URL: twilio.url }
  const replicas = [await app.replica(env), await app.replica(env)] as const
  const [replica] = replicas
  const load = signSteadily([...replicas], 2)
  await load.more(5)
  expect([...twilio.used]).toEqual([old])
  expect(await post(replica, receiptSignedWith(old, replica))).toBe(200)
  expect(await post(replica, receiptSignedWith(next, replica))).toBe(403)

  await place.put({ TWILIO_AUTH_TOKEN: next, TWILIO_AUTH_TOKEN_PREVIOUS: old })
  const secrets = ['TWILIO_AUTH_TOKEN', 'TWILIO_AUTH_TOKEN_PREVIOUS']
  await haveLogged([...replicas], 'secrets changed', { secrets })
  await load.more(5)
  // Calls that were under way ended with what they began with; now the old token is gone.
  tokens.delete(old)
  await load.more(10)
  await load.stop()
  expect(twilio.used).toContain(next)
  for (const token of [old, next]) expect(await post(replica, receiptSignedWith(token, replica))).toBe(200)
  expect(await post(replica, receiptSignedWith('another', replica))).toBe(403)
})

test("Vonage's receipts are checked with the signature secret as it is now", async () => {
  await using place = await secretsInVault(secretsOf(app.env))
  const { VONAGE_SIGNATURE_SECRET = '' } = app.env
  await place.put({ VONAGE_SIGNATURE_SECRET: 'the-one-before' })
  const replica = await app.replica({ ...place.env, ...QUICKLY })
  const receipt = await vonageReceipt({ challengeId: randomUUID(), sid: randomUUID(), status: 'delivered' })
  expect(await post(replica, receipt)).toBe(403)
  await place.put({ VONAGE_SIGNATURE_SECRET })
  await haveLogged([replica], 'secrets changed', { secrets: ['VONAGE_SIGNATURE_SECRET'] })
  expect(await post(replica, receipt)).toBe(200)
})

/** A role that may do as much as the owner of the app's database, and its password. */
async function createRole() {
  const name = `router_${randomBytes(4).toString('hex')}`
  const owner = await sql<{ name: string }>`SELECT current_user AS name`.execute(app.db)
  await sql`CREATE ROLE ${sql.id(name)} LOGIN IN ROLE ${sql.id(owner.rows[0]?.name ?? '')}`.execute(app.db)
  return {
    name,
    urlWith: (password: string) =>
      Object.assign(new URL(app.env.DATABASE_URL ?? ''), { username: name, password }).href,
    setPassword: (password: string) => sql`ALTER ROLE ${sql.id(name)} PASSWORD ${sql.lit(password)}`.execute(app.db),
    cutConnections: () =>
      sql`SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = ${name}`.execute(app.db),
  }
}

test("the database's password is taken over under load, and connections made after the change work", async () => {
  const [password, next] = [randomBytes(8).toString('hex'), randomBytes(8).toString('hex')]
  const { name, urlWith, setPassword, cutConnections } = await createRole()
  await setPassword(password)
  await using place = await secretFiles({ ...secretsOf(app.env), DATABASE_URL: urlWith(password) })
  // One reads often, the other only when a password is refused.
  const often = await app.replica({ ...place.env, ...QUICKLY })
  const seldom = await app.replica({ ...place.env, SECRETS_REFRESH_SECONDS: '3600' })
  const load = signSteadily([often, seldom])
  await load.more(10)

  await place.put({ DATABASE_URL: urlWith(next) })
  await setPassword(next)
  await expect(connectTo(urlWith(password))).rejects.toMatchObject({ code: '28P01' })
  await haveLogged([often], 'secrets changed', { secrets: ['DATABASE_URL'] })
  await load.stop()
  await cutConnections()
  await vi.waitFor(async () => {
    const { rows } = await sql`SELECT 1 FROM pg_stat_activity WHERE usename = ${name} AND query LIKE 'LISTEN%'`.execute(
      app.db,
    )
    expect(rows).toHaveLength(2)
  }, 20_000)
  const later = signSteadily([often, seldom])
  await later.more(20)
  await later.stop()
  expect(linesOf(seldom, 'secrets changed')).toHaveLength(1)
  expect(JSON.stringify([...often.logs, ...seldom.logs])).not.toMatch(new RegExp(`${password}|${next}`))
})

test('a password that is refused for good is no bug of ours: the database is not available', async () => {
  const { urlWith, setPassword, cutConnections } = await createRole()
  await setPassword('as-at-the-start')
  const replica = await app.replica({ DATABASE_URL: urlWith('as-at-the-start') })
  await start(replica)
  await setPassword('another')
  await cutConnections()
  // A connection that was being opened when the others were cut may serve one more.
  await vi.waitFor(async () => {
    expect(await failure(start(replica))).toMatchObject({ code: Code.Unavailable, reason: 'STORAGE_UNAVAILABLE' })
  }, 20_000)
  await setPassword('as-at-the-start')
  await start(replica)
})

async function connectTo(url: string): Promise<void> {
  const client = new pg.Client(url)
  await client.connect().finally(() => client.end())
}

const children: ChildProcess[] = []
afterAll(() => {
  for (const child of children) child.kill('SIGKILL')
})

test('a process takes over keys from rotated files and goes on', async () => {
  const ROOT = join(import.meta.dirname, '../..')
  await using place = await secretFiles(secretsOf(app.env))
  const { TWILIO_API_URL = '', VONAGE_API_URL = '', FCM_API_URL = '' } = app.env
  const env = {
    ...place.env,
    ...QUICKLY,
    TWILIO_API_URL,
    VONAGE_API_URL,
    FCM_API_URL,
    GRPC_PORT: '0',
    HTTP_PORT: '0',
    ADMIN_PORT: '0',
  }
  const child = spawn(process.execPath, [join(ROOT, 'src/main.ts')], { env, stdio: ['ignore', 'pipe', 'ignore'] })
  children.push(child)
  const output: string[] = []
  child.stdout.setEncoding('utf8').on('data', (text) => output.push(text))
  const logged = (pattern: RegExp) =>
    vi.waitFor(() => {
      const found = pattern.exec(output.join(''))
      if (!found) throw new Error(`not logged yet: ${pattern}`)
      return found
    }, 20_000)
  const [, port] = await logged(/"grpc_port":(\d+).*"msg":"listening"/)
  const client = createClient(SignatureService, createGrpcTransport({ baseUrl: `http://127.0.0.1:${port}` }))
  const { signatureId, code } = await start({ client, sandbox: app.sandbox })

  await place.put({ CODE_KEYS: `${K2},${app.env.CODE_KEYS}` })
  await logged(/"secrets":\["CODE_KEYS"\],"code_key_id":"k2".*"msg":"secrets changed"/)
  const { signature } = await client.completeSignature({ signatureId, code, transaction: transaction() })
  expect(signature?.status).toBe(SignatureStatus.SIGNED)
  const { challenge } = await client.startSignature(startRequest())
  const rows = await app.db
    .selectFrom('challenge')
    .select('code_key_id')
    .where('id', '=', challenge?.id ?? '')
    .execute()
  expect(rows).toEqual([{ code_key_id: 'k2' }])

  const ended = once(child, 'exit')
  child.kill('SIGTERM')
  expect(await ended).toEqual([0, null])
})
