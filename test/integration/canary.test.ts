import { createHash, randomUUID } from 'node:crypto'
import { ConnectError, createClient, type Interceptor } from '@connectrpc/connect'
import { createGrpcTransport } from '@connectrpc/connect-node'
import { credentials, Client as GrpcClient, type Metadata } from '@grpc/grpc-js'
import { type Kysely, sql } from 'kysely'
import { afterAll, beforeAll, expect, inject, test, vi } from 'vitest'
import { RoutingService } from '../../gen/bank/signature/v1/routing_pb.ts'
import { Channel, SignatureService } from '../../gen/bank/signature/v1/signature_pb.ts'
import { BadRequestSchema, ErrorInfoSchema, RetryInfoSchema } from '../../gen/google/rpc/error_details_pb.ts'
import type { Fault } from '../../src/sandbox/sandbox.ts'
import { sandboxSettings } from '../../src/sandbox/sandbox-accounts.ts'
import { PROVIDERS } from '../../src/sandbox/simulated-vendors.ts'
import { type App, codeIn, randomKey, startApp, startRequest, transaction, wrongCode } from '../support/app.ts'
import { type Echo, type EchoVendor, startEchoVendor } from '../support/echo-vendor.ts'
import { codesTold, setPaused } from '../support/hops.ts'
import { forceTable, publish, route } from '../support/routing.ts'
import { fromTwilio, twilioParams, twilioTarget, vonageReceipt, type Webhook } from '../support/webhooks.ts'

const PHONE = '+34622987541'
const CUSTOMER = 'canary-customer-8c1f'
const PUSH_TOKEN = 'canary-push-token-5e0d91c4:APA91b'
const DEAD_TOKEN = 'unregistered-canary-push-token-22f7'
/** Of the vendor that repeats everything. */
const ACCESS_TOKEN = 'ya29.canary-access-token-77d0c2'
const PAYMENT = transaction({
  amount: { currencyCode: 'EUR', units: 73_619_482n, nanos: 170_000_000 },
  payeeName: 'Canary Payee Ltd',
  payeeAccount: 'ES7921000813610123456789',
  reference: 'canary reference 4711',
})
const KEYS = { CODE_KEYS: randomKey(), PII_KEYS: randomKey(), INDEX_KEY: randomKey() }

let app: App
let echo: EchoVendor
/** Everything that left the service during the scenario, by where it went. */
const out = { log: '', metrics: '', errors: '', answers: '' }
const reasons = new Set<string>()
const codes = new Set<string>()
/** What access tokens are asked for with. */
const assertions = new Set<string>()

beforeAll(async () => {
  app = await startApp({
    LOG_LEVEL: 'trace',
    DELIVERY_BACKOFF_MS: '1',
    ...KEYS,
    CODE_KEYS: `k1:${KEYS.CODE_KEYS}`,
    PII_KEYS: `p1:${KEYS.PII_KEYS}`,
  })
  echo = await startEchoVendor({ accessToken: ACCESS_TOKEN, env: app.env, codes, assertions })
  await publish(app, [
    ...Object.entries(ROUTES).map(([customerSegment, chain], n) => route(n + 1, chain, { customerSegment })),
    route(1_000, { SMS: ['twilio-sms'] }),
  ])
  const echoed = await app.replica(sandboxSettings(inject('accounts'), echo.url))
  const unreachable = await app.replica({ TWILIO_API_URL: 'http://127.0.0.1:9' })
  const impatient = await app.replica({ TWILIO_TIMEOUT_SECONDS: '0.1' })

  await signAndRefuse(recordingClient(app))
  await failDeliveries(recordingClient(impatient))
  await repeatEverything(recordingClient(echoed))
  await recordingClient(unreachable).startSignature(request())
  await refuseInput(recordingClient(app))
  await fallBack(recordingClient(app))
  await report(recordingClient(app))
  await steer(recordingClient(app))
  await breakStorage(recordingClient(app))
  await failStarts()

  for (const code of codesTold(app)) codes.add(code)
  for (const replica of [app, echoed, unreachable, impatient]) {
    out.log += replica.logs.map((line) => `${JSON.stringify(line)}\n`).join('')
    out.metrics += await replica.metrics()
    for (const page of ['livez', 'readyz', `metrics?to=${encodeURIComponent(PHONE)}`]) {
      const body = await (await fetch(`http://127.0.0.1:${replica.server.adminPort}/${page}`)).text()
      out.answers += page.startsWith('metrics') ? labels(body) : body
    }
  }
})
afterAll(async () => {
  await echo[Symbol.asyncDispose]()
  await app[Symbol.asyncDispose]()
})

test('the scenario went everywhere', async () => {
  expect([...reasons].toSorted()).toEqual([
    'CHALLENGE_NOT_FOUND',
    'CODE_REJECTED',
    'DESTINATION_UNREACHABLE',
    'IDEMPOTENCY_IN_PROGRESS',
    'IDEMPOTENCY_KEY_REUSED',
    'INTERNAL',
    'INVALID_FIELD',
    'NO_ROUTE',
    'PROVIDER_UNAVAILABLE',
    'ROUTING_TABLE_CONFLICT',
    'ROUTING_TABLE_NOT_FOUND',
    'SIGNATURE_ABORTED',
    'SIGNATURE_ALREADY_SIGNED',
    'SIGNATURE_EXPIRED',
    'SIGNATURE_NOT_FOUND',
    'STORAGE_UNAVAILABLE',
    'TRANSACTION_MISMATCH',
    'TRIES_EXHAUSTED',
  ])
  const { rows } = await sql<{ status: string }>`SELECT DISTINCT status FROM signature ORDER BY 1`.execute(app.db)
  expect(rows.map(({ status }) => status)).toEqual(['ABORTED', 'EXPIRED', 'FAILED', 'PENDING', 'SIGNED'])
  for (const message of [
    'rpc',
    'challenge sent',
    'provider call failed',
    'delivery gave up',
    'bug',
    'receipt',
    'receipt refused',
    'listening',
  ]) {
    expect(out.log).toContain(`"msg":"${message}"`)
  }
  for (const failureClass of ['transient', 'unknown', 'unproven', 'recipient', 'ours']) {
    expect(out.log).toContain(`"failure_class":"${failureClass}"`)
  }
  for (const error of ['twilio_errors_total{error_code="21211"}', 'vonage_errors_total{error_code="1430"}']) {
    expect(out.metrics).toContain(`provider_${error}`)
  }
  expect(out.metrics).toContain('provider_fcm_errors_total{error_code="UNREGISTERED"}')
  expect(out.metrics).toContain('challenge_fallbacks_total{from="fcm-push",to="twilio-sms"')
  expect(assertions.size).toBeGreaterThan(0)
  const echoed = await sql`SELECT FROM challenge WHERE provider_proof->'headers' = '{}'`.execute(app.db)
  expect(echoed.rows.length).toBeGreaterThan(10)
  expect(codes.size).toBeGreaterThan(20)
})

test('no log line tells who signs, with what code, or what is paid to whom', () => {
  expect(leaks(out.log, { ...secrets(), ...payment() })).toEqual([])
})

test('no metric tells who signs, with what code, or what is paid to whom', () => {
  expect(leaks(labels(out.metrics), { ...secrets(), ...payment() })).toEqual([])
})

test('no error tells who signs, with what code, or what is paid to whom', () => {
  expect(leaks(out.errors, { ...secrets(), ...payment() })).toEqual([])
})

test('no answer tells who signs or with what code', () => {
  expect(out.answers).toContain('Canary Payee Ltd')
  expect(leaks(out.answers, secrets())).toEqual([])
})

test('nothing in the database tells who signs or with what code, in clear, encoded or plainly hashed', async () => {
  const everything = await dump(app.db)
  expect(everything).toContain('Canary Payee Ltd')
  expect(leaks(everything, secrets())).toEqual([])
})

test('a secret is found wherever and however it is planted', () => {
  for (const [name, secret] of Object.entries(secrets())) {
    const sentence = `to ${secret}, please`
    const bytes = Buffer.from(sentence, 'latin1')
    const asText = [
      JSON.stringify({ level: 'info', msg: sentence }),
      labels(`sms_total{to="${secret}"} 1`),
      new URLSearchParams({ To: secret, Body: sentence }).toString(),
      `/messages?to=${encodeURIComponent(sentence)}`,
    ]
    const asBytes = (['hex', 'base64', 'base64url', 'latin1'] as const).map((encoding) => bytes.toString(encoding))
    const asHash = HASHES.flatMap((algorithm) =>
      (['hex', 'base64', 'latin1'] as const).map((encoding) => hash(algorithm, secret).toString(encoding)),
    )
    for (const form of [...(name.endsWith('raw') ? [] : asText), ...asBytes, ...asHash]) {
      expect(leaks(`before ${form} after`, { [name]: secret })).toContain(name)
    }
  }
  expect(leaks('nothing to see in 01a20545-da95-75dd-b65e-71250efee017', secrets())).toEqual([])
})

test.each([
  ['text', sql`UPDATE signature SET reference = ${`for ${CUSTOMER}`}`],
  ['text without the plus', sql`UPDATE signature SET phone_masked = ${PHONE.slice(1)}`],
  ['JSON', sql`UPDATE challenge SET route = ${JSON.stringify({ note: { to: PHONE } })}`],
  ['bytes', sql`UPDATE signature SET phone_ciphertext = ${Buffer.from(`..${PHONE}..`)}`],
  ['base64 in bytes', sql`UPDATE signature SET phone_ciphertext = ${Buffer.from(btoa(`..${PHONE}..`))}`],
  ['a hash', sql`UPDATE signature SET phone_hmac = sha256(${PHONE}::text::bytea)`],
  ['a table of its own', sql`CREATE TABLE notes AS SELECT ${PHONE}::text AS note`],
])('what is planted in the database as %s is found there', async (_, plant) => {
  const rollback = new Error('rolled back')
  const found: unknown[] = []
  const planting = app.db.transaction().execute(async (trx) => {
    await plant.execute(trx)
    found.push(...leaks(await dump(trx), secrets()))
    throw rollback
  })
  await expect(planting).rejects.toBe(rollback)
  expect(found).not.toEqual([])
})

async function signAndRefuse(client: Recorded): Promise<void> {
  const signed = await start(client)
  await client.completeSignature(signed)
  await client.completeSignature(signed)
  await client.getSignature(signed)
  await client.getChallenge(signed)

  const failed = await start(client)
  for (const _ of ['first', 'second', 'third', 'too late']) {
    await client.completeSignature({ ...failed, code: wrongCode(failed.code) })
  }
  codes.add(wrongCode(failed.code))
  await client.getSignature(failed)

  const aborted = await start(client)
  await client.completeSignature({ ...aborted, transaction: transaction({ ...PAYMENT, reference: 'another' }) })
  await client.completeSignature(aborted)

  const expired = await start(client)
  await sql`UPDATE signature SET expires_at = clock_timestamp() WHERE id = ${expired.signatureId}`.execute(app.db)
  await client.completeSignature(expired)

  const idempotencyKey = randomUUID()
  await client.startSignature(request({ idempotencyKey }))
  await client.startSignature(request({ idempotencyKey, customerId: `${CUSTOMER}-2` }))
  await sql`
    UPDATE challenge SET status = 'PENDING', delivery_status = NULL, lease_expires_at = 'infinity'
    WHERE signature_id = (SELECT signature_id FROM idempotency_key WHERE key = ${idempotencyKey})
  `.execute(app.db)
  await client.startSignature(request({ idempotencyKey }))

  await client.startSignature(request({ channel: Channel.VOICE }))
  await client.getSignature({ signatureId: randomUUID() })
  await client.getChallenge({ challengeId: randomUUID() })
}

async function failDeliveries(client: Recorded): Promise<void> {
  const faults: Fault[][] = [
    Array(4).fill({ status: 500, sent: true }),
    [{ status: 429, retryAfterSeconds: 0 }],
    Array(4).fill({ hang: true }),
    Array(4).fill({ reset: true }),
    [{ drip: true }],
    [{ redirect: `http://127.0.0.1:9/${encodeURIComponent(PHONE)}` }],
  ]
  for (const fault of faults) {
    app.sandbox.failNext(...fault)
    await client.startSignature(request())
  }
}

async function repeatEverything(client: Recorded): Promise<void> {
  for (const answer of ECHOES) {
    echo.answerWith(answer)
    for (const customerSegment of ['', ...Object.keys(ROUTES)]) {
      await client.startSignature(request({ customerSegment, pushToken: PUSH_TOKEN }))
    }
  }
}

async function fallBack(client: Recorded): Promise<void> {
  const chained = (fields = {}) => request({ customerSegment: 'CHAIN', ...fields })
  await client.startSignature(chained())
  await client.startSignature(request({ customerSegment: 'PUSH' }))
  for (const pushToken of [PUSH_TOKEN, DEAD_TOKEN]) {
    await client.startSignature(request({ customerSegment: 'PUSH', pushToken }))
  }
  const failing: Fault[][] = [
    Array(4).fill({ provider: 'twilio-sms', status: 503 }),
    Array(4).fill({ provider: 'vonage-sms', reset: true, sent: true }),
    [{ provider: 'twilio-voice', body: 'not json', sent: true }],
  ]
  app.sandbox.failNext({ provider: 'fcm-token', status: 400, code: 'invalid_grant' }, ...failing.flat())
  app.sandbox.expireTokens()
  const { signature } = (await client.startSignature(chained({ pushToken: DEAD_TOKEN }))) ?? {}
  const signatureId = signature?.id ?? expect.fail('nothing started')
  for (const code of codesTold(app).slice(-4)) {
    await client.completeSignature({ signatureId, code, transaction: PAYMENT })
  }
  await client.getSignature({ signatureId })
  app.sandbox.failNext({ provider: 'vonage-sms', status: 422, code: 1430 })
  await client.startSignature(request({ customerSegment: 'VONAGE' }))
  app.sandbox.failNext(...[...PROVIDERS.keys()].map((provider) => ({ provider, status: 403 })))
  await client.startSignature(chained({ pushToken: PUSH_TOKEN }))
  await setPaused(app, 'fcm-push', true)
  await client.startSignature(request({ customerSegment: 'PUSH', pushToken: PUSH_TOKEN }))
  await setPaused(app, 'fcm-push', false)
}

/** Receipts name the phone number. One is taken, the others are refused. */
async function report(client: Recorded): Promise<void> {
  await client.startSignature(request({ customerSegment: 'VOICE' }))
  expect(await app.sandbox.press(app.sandbox.messages[0]?.sid ?? '', '1')).toBe(true)
  const { challengeId } = await start(client)
  const told = { challengeId, sid: app.sandbox.messages[0]?.sid ?? '', status: 'delivered' }
  const target = twilioTarget(told)
  const params = { ...twilioParams(told), To: PHONE }
  const taken = fromTwilio(app, target, params)
  const vonages = await vonageReceipt({ ...told, sid: randomUUID() })
  const bodies = [taken.body, `${taken.body}&To=${PHONE}`, JSON.stringify({ to: PHONE.slice(1) })]
  for (const receipt of [taken, vonages]) {
    for (const body of bodies) out.answers += await said(receipt.target, { ...receipt, body })
    out.answers += await said(`${receipt.target}?to=${encodeURIComponent(PHONE)}`, receipt)
  }
  out.answers += await said(`/webhooks/${encodeURIComponent(PHONE)}`, taken)
  out.answers += await said(taken.target, { ...taken, body: PHONE.repeat(10_000) })
}

/** What a webhook answers. */
async function said(target: string, { headers, body }: Pick<Webhook, 'headers' | 'body'>): Promise<string> {
  const init = { method: 'POST', headers, body }
  const response = await fetch(`http://127.0.0.1:${app.server.httpPort}${target}`, init)
  return `${json([response.status, ...response.headers])} ${await response.text()}`
}

async function steer(client: Recorded): Promise<void> {
  const asked = { phoneNumber: PHONE, transaction: PAYMENT, hasPushToken: true }
  for (const customerSegment of ['', ...Object.keys(ROUTES)]) await client.explainRoute({ ...asked, customerSegment })
  await client.explainRoute({ ...asked, version: 4_711 })
  await client.explainRoute({ ...asked, phoneNumber: `${PHONE} ext. 12`, customerSegment: CUSTOMER.repeat(10) })
  await client.explainRoute({ ...asked, phoneNumber: PHONE.replace('+', '00'), transaction: {} })
  const routes = [route(1, { SMS: ['vonage-sms'] })]
  await client.simulateRoutingTable({ routes, signatures: 1_000 })
  await client.publishRoutingTable({ replacesVersion: 1, author: 'ops', reason: 'too late', routes })
  await client.getRoutingTable({})
  await client.listRoutingTableVersions({})
  await client.listProviders({})
  await callWithBytes(`/${RoutingService.typeName}/ExplainRoute`, Buffer.from(`\xff${PHONE} ${CUSTOMER}`))
}

async function refuseInput(client: Recorded): Promise<void> {
  const { signatureId, challengeId, code } = await start(client)
  await client.startSignature({})
  await client.startSignature(request({ phoneNumber: PHONE.replace('+', '00') }))
  await client.startSignature(request({ phoneNumber: `${PHONE} ext. 12`, customerId: CUSTOMER.repeat(10) }))
  await client.startSignature(request({ locale: CUSTOMER, idempotencyKey: `${CUSTOMER}\0` }))
  await client.startSignature(
    request({ transaction: transaction({ ...PAYMENT, payeeName: 'Canary Payee Ltd\u202e' }) }),
  )
  for (const malformed of [` ${code}`, `${code}\n`, `${code}0`, PHONE, CUSTOMER]) {
    await client.completeSignature({ signatureId, code: malformed, transaction: PAYMENT })
  }
  await client.completeSignature({ signatureId: code, code: challengeId, transaction: PAYMENT })
  await client.getSignature({ signatureId: PHONE })
  await client.getChallenge({ challengeId: CUSTOMER })
  for (const method of ['StartSignature', 'CompleteSignature', PHONE]) {
    await callWithBytes(`/${SignatureService.typeName}/${method}`, Buffer.from(`\xff${PHONE} ${CUSTOMER} ${code}`))
  }
}

async function breakStorage(client: Recorded): Promise<void> {
  const open = await start(client)

  // PostgreSQL quotes the whole row when it breaks a constraint.
  await sql`ALTER TABLE signature ADD CONSTRAINT canary CHECK (payee_name <> 'Canary Payee Ltd') NOT VALID`.execute(
    app.db,
  )
  await client.startSignature(request())
  await sql`ALTER TABLE signature DROP CONSTRAINT canary`.execute(app.db)

  await sql`ALTER TABLE timeline RENAME TO gone`.execute(app.db)
  await client.startSignature(request())
  await client.completeSignature({ ...open, code: wrongCode(open.code) })
  await client.getSignature(open)
  await sql`ALTER TABLE gone RENAME TO timeline`.execute(app.db)

  await app.db.transaction().execute(async (trx) => {
    await sql`SELECT FROM challenge WHERE id = ${open.challengeId} FOR UPDATE`.execute(trx)
    const cut = client.completeSignature(open)
    await vi.waitFor(async () => {
      const { rows } = await sql`
        SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pg_backend_pid() = ANY (pg_blocking_pids(pid))
      `.execute(trx)
      expect(rows).toHaveLength(1)
    }, 10_000)
    await cut
  })
}

async function failStarts(): Promise<void> {
  const url = new URL(app.env.DATABASE_URL ?? '')
  const wrongDatabase = Object.assign(new URL(url), { pathname: '/nowhere' }).href
  const nobodyThere = Object.assign(new URL(url), { port: '9' }).href
  await forceTable(app, 3, 'acme-sms')
  for (const env of [{}, { DATABASE_URL: wrongDatabase }, { DATABASE_URL: nobodyThere }, { CODE_KEYS: 'k1:short' }]) {
    out.errors += await app.replica(env).then(
      () => expect.fail('it started'),
      (error: Error) => `${error.stack}\n${error.message}\n${JSON.stringify(error)}\n`,
    )
  }
  await sql`DELETE FROM routing_table WHERE version = 3`.execute(app.db)
}

type Recorded = ReturnType<typeof recordingClient>

/** A client whose calls never reject; what they end in is in `out` and `reasons`. */
function recordingClient({ url }: Pick<App, 'url'>) {
  const record: Interceptor = (next) => async (call) => {
    const response = await next(call)
    out.answers += `${json([response.message, ...response.header, ...response.trailer])}\n`
    return response
  }
  const transport = createGrpcTransport({ baseUrl: url, interceptors: [record] })
  const { startSignature, completeSignature, getSignature, getChallenge } = createClient(SignatureService, transport)
  const operator = createClient(RoutingService, transport)
  const settle =
    <I, O>(method: (input: I) => Promise<O>) =>
    (input: I) =>
      method(input).catch((error: unknown) => {
        if (!(error instanceof ConnectError)) throw error
        const infos = error.findDetails(ErrorInfoSchema)
        for (const { reason } of infos) reasons.add(reason)
        const more = [...error.findDetails(BadRequestSchema), ...error.findDetails(RetryInfoSchema)]
        out.errors += `${json([error.message, infos, more, [...error.metadata]])}\n`
        return undefined
      })
  return {
    startSignature: settle(startSignature),
    completeSignature: settle(completeSignature),
    getSignature: settle(getSignature),
    getChallenge: settle(getChallenge),
    explainRoute: settle(operator.explainRoute),
    simulateRoutingTable: settle(operator.simulateRoutingTable),
    publishRoutingTable: settle(operator.publishRoutingTable),
    getRoutingTable: settle(operator.getRoutingTable),
    listRoutingTableVersions: settle(operator.listRoutingTableVersions),
    listProviders: settle(operator.listProviders),
  }
}

async function callWithBytes(path: string, bytes: Buffer): Promise<void> {
  using client = Object.assign(new GrpcClient(new URL(app.url).host, credentials.createInsecure()), {
    [Symbol.dispose]: () => client.close(),
  })
  const same = (value: Buffer) => value
  await new Promise<void>((resolve) => {
    client.makeUnaryRequest(path, same, same, bytes, (error) => {
      const metadata: Metadata | undefined = error?.metadata
      out.errors += `${json([error?.code, error?.details, error?.message, metadata?.toHttp2Headers()])}\n`
      resolve()
    })
  })
}

function request(fields: Parameters<typeof startRequest>[0] = {}): ReturnType<typeof startRequest> {
  return startRequest({ phoneNumber: PHONE, customerId: CUSTOMER, transaction: PAYMENT, ...fields })
}

async function start(client: Recorded) {
  const { signature, challenge } = (await client.startSignature(request())) ?? {}
  if (!signature || !challenge) throw new Error('nothing started')
  const message = app.sandbox.messages.find(({ sid }) => sid === challenge.providerChallengeId)
  const code = codeIn(message?.body)
  codes.add(code)
  return { signatureId: signature.id, challengeId: challenge.id, code, transaction: PAYMENT }
}

/** By customer segment. */
const ROUTES = {
  VOICE: { VOICE: ['twilio-voice'] },
  VONAGE: { SMS: ['vonage-sms'] },
  PUSH: { PUSH: ['fcm-push'] },
  CHAIN: { PUSH: ['fcm-push'], SMS: ['twilio-sms', 'vonage-sms'], VOICE: ['twilio-voice'] },
}

const ECHOES: Echo[] = [
  ...[400, 200].map((status) => ({ status, noToken: true as const })),
  ...[500, 503, 429, 400, 401, 403, 404, 302, 200].map((status) => ({ status })),
  ...[21211, 21408, 21610, 21614, 21606, 21611, 63038, 1430].map((code) => ({ status: 400, code })),
  ...[
    (part: string) => part,
    (part: string) => btoa(part),
    (part: string) => encodeURIComponent(part),
    (part: string) => Buffer.from(part).toString('hex'),
    (part: string) => [...part].join('-'),
  ].map((written) => ({ status: 201, taken: true as const, written })),
  { status: 201, body: (said) => `not json: ${said}` },
  { status: 201, body: (said) => said.repeat(1_000) },
]

/** What may be nowhere outside the process but in the message itself. */
function secrets(): Record<string, string> {
  const { TWILIO_ACCOUNT_SID: sid, TWILIO_AUTH_TOKEN: token = '', DATABASE_URL = '' } = app.env
  const { vonage, fcm } = inject('accounts')
  return {
    phone: PHONE,
    'phone without plus': PHONE.slice(1),
    'national number': PHONE.slice(3),
    customer: CUSTOMER,
    'auth token': token,
    'basic credentials': btoa(`${sid}:${token}`),
    'push token': PUSH_TOKEN,
    'unregistered push token': DEAD_TOKEN,
    'Vonage secret': vonage.apiSecret,
    'Vonage signature secret': vonage.signatureSecret ?? '',
    'Vonage credentials': btoa(`${vonage.apiKey}:${vonage.apiSecret}`),
    // A line of its PEM, as it is the same however line breaks are written.
    'private key': fcm.privateKey.split('\n')[7] ?? expect.unreachable(),
    'access token': ACCESS_TOKEN,
    'access token of the sandbox': 'ya29.',
    ...Object.fromEntries([...assertions].map((assertion, n) => [`assertion ${n}`, assertion])),
    'database password': new URL(DATABASE_URL).password,
    ...Object.fromEntries(Object.entries(KEYS).map(([name, key]) => [name, key])),
    ...Object.fromEntries(Object.entries(KEYS).map(([name, key]) => [`${name} raw`, atob(key)])),
    ...Object.fromEntries([...codes].map((code) => [`code ${code}`, code])),
  }
}

/** What callers and the database may see, but nobody else. */
function payment(): Record<string, string> {
  return {
    payee: 'Canary Payee',
    account: PAYMENT.payeeAccount ?? '',
    reference: PAYMENT.reference ?? '',
    amount: '73619482',
    'amount as shown': '73,619,482',
  }
}

/** The names of the secrets that are in a text: as they are, encoded, or as a hash that anyone can compute. */
function leaks(haystack: string, wanted: Record<string, string>): string[] {
  const readings = [haystack, ...decoded(haystack)].join('\n')
  return Object.entries(wanted)
    .filter(([, secret]) => {
      // Six digits alone are found in any long number, so a code counts where nothing goes on around it.
      const plain = /^\d{6}$/.test(secret)
        ? new RegExp(`(?<![0-9A-Za-z])${secret}(?![0-9A-Za-z])`).test(readings)
        : readings.includes(secret)
      return plain || HASHES.some((algorithm) => readings.includes(hash(algorithm, secret).toString('latin1')))
    })
    .map(([name]) => name)
}

const HASHES = ['md5', 'sha1', 'sha256', 'sha512']

function hash(algorithm: string, secret: string): Buffer {
  return createHash(algorithm).update(secret, 'latin1').digest()
}

/** What is hidden in a text by percent signs, hexadecimal or base64. */
function decoded(haystack: string): string[] {
  const unescaped = haystack.replaceAll(/%([0-9A-Fa-f]{2})/g, (_, hex) => String.fromCharCode(Number.parseInt(hex, 16)))
  const hex = haystack.match(/[0-9A-Fa-f]{12,}/g) ?? []
  const base64 = haystack.match(/[\w+/-]{8,}/g) ?? []
  return [
    unescaped,
    unescaped.replaceAll('+', ' '),
    ...hex.map((run) => Buffer.from(run, 'hex').toString('latin1')),
    ...base64.map((run) => Buffer.from(run, 'base64').toString('latin1')),
  ]
}

/** Names and labels of a metrics page, without the values, which may be any number. */
function labels(page: string): string {
  return page.replaceAll(/ [^ ]+$/gm, '')
}

/** Every value of every table; bytes as they are. Times are left out: their digits may be any. */
async function dump(db: Kysely<never> | App['db']): Promise<string> {
  const tables = await sql<{ name: string }>`
    SELECT table_name AS name FROM information_schema.tables WHERE table_schema = 'public' ORDER BY 1
  `.execute(db)
  const lines: string[] = []
  for (const { name } of tables.rows) {
    const { rows } = await sql<Record<string, unknown>>`SELECT * FROM ${sql.table(name)}`.execute(db)
    for (const value of rows.flatMap((row) => Object.values(row))) {
      if (Buffer.isBuffer(value)) lines.push(value.toString('latin1'))
      else if (!(value instanceof Date)) lines.push(typeof value === 'string' ? value : json(value))
    }
  }
  return lines.join('\n')
}

function json(value: unknown): string {
  return JSON.stringify(value, (_, part) => (typeof part === 'bigint' ? `${part}` : part)) ?? ''
}
