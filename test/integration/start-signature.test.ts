import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { text } from 'node:stream/consumers'
import { timestampDate } from '@bufbuild/protobuf/wkt'
import { Code } from '@connectrpc/connect'
import { sql } from 'kysely'
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest'
import {
  ChallengeStatus,
  Channel,
  DeliveryStatus,
  SignatureStatus,
  type StartSignatureResponse,
  TimelineEventType,
} from '../../gen/bank/signature/v1/signature_pb.ts'
import { loadConfig } from '../../src/config.ts'
import { lookUpHmac } from '../../src/domain/look-up-hmac.ts'
import { unseal } from '../../src/domain/sealed.ts'
import { type App, codeIn, failure, PHONE, row, startApp, startRequest, timeline, transaction } from '../support/app.ts'
import { publish, route } from '../support/routing.ts'

let app: App
beforeAll(async () => {
  app = await startApp()
})
beforeEach(() => app.sandbox.clear())
afterAll(() => app[Symbol.asyncDispose]())

test('a start sends the code and answers with the whole signature and challenge', async () => {
  const request = startRequest({ locale: 'en-GB' })
  const { signature, challenge } = await app.client.startSignature(request)

  expect(signature).toMatchObject({
    id: expect.stringMatching(UUID_V7),
    status: SignatureStatus.PENDING,
    transaction: transaction(),
    challengeIds: [challenge?.id],
    timeline: [],
  })
  expect(signature?.completeTime).toBeUndefined()
  expect(challenge).toMatchObject({
    id: expect.stringMatching(UUID_V7),
    signatureId: signature?.id,
    channel: Channel.SMS,
    provider: 'twilio-sms',
    status: ChallengeStatus.SENT,
    deliveryStatus: DeliveryStatus.ACCEPTED,
    providerChallengeId: app.sandbox.messages[0]?.sid,
    maskedPhoneNumber: '+34*****222',
    triesRemaining: 3,
    sendTime: expect.anything(),
  })
  expect(challenge?.failure).toBeUndefined()
  expect(millisecondsBetween(signature?.createTime, signature?.expireTime)).toBe(300_000)
  expect(challenge?.createTime).toEqual(signature?.createTime)
  expect(challenge?.expireTime).toEqual(signature?.expireTime)

  expect(app.sandbox.calls).toHaveLength(1)
  const sent = Object.fromEntries(app.sandbox.calls[0]?.form ?? [])
  expect(sent).toMatchObject({ To: PHONE, From: '+15005550006' })
  expect(sent.Body).toMatch(/125\.50 EUR to "ACME Ltd".* [0-9]{6}/)
  expect(Number(sent.ValidityPeriod)).toBeGreaterThan(290)
  expect(Number(sent.ValidityPeriod)).toBeLessThanOrEqual(300)

  const { challenge: asRead } = await app.client.getChallenge({ challengeId: challenge?.id ?? '' })
  expect(asRead).toEqual(challenge)
  const { signature: withTimeline } = await app.client.getSignature({ signatureId: signature?.id ?? '' })
  expect({ ...withTimeline, timeline: [] }).toEqual(signature)
  expect(withTimeline?.timeline).toMatchObject([
    {
      position: 1,
      type: TimelineEventType.SIGNATURE_STARTED,
      challengeId: '',
      details: { route: '1000', routing_table_version: '1' },
    },
    {
      position: 2,
      type: TimelineEventType.CHALLENGE_STARTED,
      challengeId: challenge?.id,
      details: { channel: 'SMS', provider: 'twilio-sms' },
    },
    {
      position: 3,
      type: TimelineEventType.CHALLENGE_SENT,
      challengeId: challenge?.id,
      details: { provider: 'twilio-sms', attempts: '1', provider_challenge_id: challenge?.providerChallengeId },
    },
  ])
})

test('a start writes every fact of it, the phone number and customer only under keys', async () => {
  const request = startRequest({ locale: 'es-es' })
  const { signature, challenge } = await app.client.startSignature(request)
  const { keys } = await loadConfig(app.env)
  if (!signature || !challenge || !keys) throw new Error('nothing started')

  const stored = await row(app, 'signature', signature.id)
  expect(stored).toMatchObject({
    caller: 'anonymous',
    status: 'PENDING',
    customer_hmac: lookUpHmac(keys.index, 'customer', 'customer-1'),
    phone_hmac: lookUpHmac(keys.index, 'phone', PHONE),
    phone_key_id: 'p1',
    phone_masked: '+34*****222',
    country: 'ES',
    locale: 'es-ES',
    amount: '125.500000000',
    currency: 'EUR',
    payee_name: 'ACME Ltd',
    payee_account: 'ES9121000418450200051332',
    transaction_type: 'SEPA_CREDIT_TRANSFER',
    reference: 'Invoice 7',
    completed_at: null,
  })
  const ciphertext = stored?.phone_ciphertext
  if (!Buffer.isBuffer(ciphertext)) throw new Error('no ciphertext')
  expect(unseal(keys.pii, { keyId: 'p1', ciphertext }, signature.id)).toBe(PHONE)

  const [message] = app.sandbox.messages
  expect(message?.body).toMatch(/^Pagar 125,50 EUR a "ACME Ltd"/)
  expect(await row(app, 'challenge', challenge.id)).toMatchObject({
    signature_id: signature.id,
    channel: 'SMS',
    provider: 'twilio-sms',
    route: { priority: 1000, channels: [{ channel: 'SMS', providers: [{ provider: 'twilio-sms', weight: 1 }] }] },
    routing_table_version: 1,
    passed_over: [],
    status: 'SENT',
    delivery_status: 'ACCEPTED',
    provider_challenge_id: message?.sid,
    provider_proof: {
      httpStatus: 201,
      requestId: expect.stringMatching(/^RQ/),
    },
    code_key_id: 'k1',
    tries_used: 0,
    max_tries: 3,
    failure_reason: null,
  })
  const attempts = await app.db.selectFrom('attempt').where('challenge_id', '=', challenge.id).selectAll().execute()
  expect(attempts).toMatchObject([{ number: 1, outcome: 'sent', provider_error_code: null }])
  const claims = await app.db
    .selectFrom('idempotency_key')
    .where('signature_id', '=', signature.id)
    .selectAll()
    .execute()
  expect(claims).toMatchObject([{ caller: 'anonymous', key: request.idempotencyKey }])
})

test('the same key and request again give the same signature and no second message', async () => {
  const request = startRequest()
  const first = await app.client.startSignature(request)
  const again = await app.client.startSignature(request)
  const elsewhere = await (await app.replica()).client.startSignature(request)

  expect(again).toEqual(first)
  expect(elsewhere).toEqual(first)
  expect(app.sandbox.calls).toHaveLength(1)
  expect(await timeline(app, first.signature?.id ?? '')).toEqual([
    'SIGNATURE_STARTED',
    'CHALLENGE_STARTED',
    'CHALLENGE_SENT',
  ])
})

test('the same key and request after the end tell how it ended', async () => {
  const request = startRequest()
  const { signature } = await app.client.startSignature(request)
  const code = codeIn(app.sandbox.messages[0]?.body)
  await app.client.completeSignature({ signatureId: signature?.id ?? '', code, transaction: transaction() })

  const again = await app.client.startSignature(request)

  expect(again.signature).toMatchObject({ id: signature?.id, status: SignatureStatus.SIGNED })
  expect(again.challenge).toMatchObject({ status: ChallengeStatus.COMPLETED })
  expect(app.sandbox.calls).toHaveLength(1)
})

test('the same key and request after a failed delivery give the same failure and no further call', async () => {
  const request = startRequest()
  app.sandbox.failNext({ status: 400, code: 21614 })
  const first = await failure(app.client.startSignature(request))
  const again = await failure(app.client.startSignature(request))

  expect(first).toMatchObject({ code: Code.FailedPrecondition, reason: 'DESTINATION_UNREACHABLE' })
  expect(again).toEqual(first)
  expect(app.sandbox.calls).toHaveLength(1)
})

test('two requests that differ in their keys alone are two signatures', async () => {
  const first = await app.client.startSignature(startRequest())
  const second = await app.client.startSignature(startRequest())

  expect(second.signature?.id).not.toBe(first.signature?.id)
  expect(app.sandbox.messages).toHaveLength(2)
})

test.each(['one process', 'two replicas'])(
  'the same start 50 times at once over %s is one signature and one message',
  async (over) => {
    const clients = over === 'two replicas' ? [app.client, (await app.replica()).client] : [app.client]
    const request = startRequest()
    const signaturesBefore = await count('signature')

    const calls = Array.from({ length: 50 }, (_, n) => clients[n % clients.length]?.startSignature(request))
    const answers = await Promise.allSettled(calls)

    const started = answers.flatMap((answer) => (answer.status === 'fulfilled' ? [answer.value] : []))
    expect(started.length).toBeGreaterThan(0)
    expect(new Set(started.map((answer) => answer?.signature?.id)).size).toBe(1)
    for (const answer of answers.filter(({ status }) => status === 'rejected')) {
      const refused = await failure(settled(answer))
      expect(refused).toMatchObject({ code: Code.Aborted, reason: 'IDEMPOTENCY_IN_PROGRESS' })
      expect(refused.retryDelayMs).toBeGreaterThan(0)
    }
    expect(app.sandbox.calls).toHaveLength(1)
    expect(await count('signature')).toBe(signaturesBefore + 1)
    expect(await timeline(app, started[0]?.signature?.id ?? '')).toEqual([
      'SIGNATURE_STARTED',
      'CHALLENGE_STARTED',
      'CHALLENGE_SENT',
    ])
  },
)

test.each([
  ['customer', { customerId: 'customer-2' }],
  ['phone number', { phoneNumber: '+34600111223' }],
  ['amount', { transaction: transaction({ amount: { currencyCode: 'EUR', units: 125n, nanos: 510_000_000 } }) }],
  ['currency', { transaction: transaction({ amount: { currencyCode: 'USD', units: 125n, nanos: 500_000_000 } }) }],
  ['payee', { transaction: transaction({ payeeName: 'ACME Ltd.' }) }],
  ["payee's account", { transaction: transaction({ payeeAccount: 'ES9121000418450200051333' }) }],
  ['type', { transaction: transaction({ transactionType: 'CARD' }) }],
  ['reference', { transaction: transaction({ reference: 'Invoice 8' }) }],
  ['channel', { channel: Channel.SMS }],
  ['channel that no route serves', { channel: Channel.VOICE }],
  ['locale', { locale: 'es' }],
])('the same key with another %s is refused and changes nothing', async (_, changed) => {
  const request = startRequest()
  const first = await app.client.startSignature(request)
  const rowsBefore = await countAll()

  expect(await failure(app.client.startSignature({ ...request, ...changed }))).toMatchObject({
    code: Code.FailedPrecondition,
    reason: 'IDEMPOTENCY_KEY_REUSED',
  })

  expect(await countAll()).toEqual(rowsBefore)
  expect(app.sandbox.calls).toHaveLength(1)
  expect(await app.client.startSignature(request)).toEqual(first)
})

test('another request with a key still being delivered is told that the key is taken, not to wait', async () => {
  await using provider = await holdBackAnswers()
  const replica = await app.replica({ TWILIO_API_URL: provider.url })
  const request = startRequest()
  const call = app.sandbox.nextCall()
  const starting = replica.client.startSignature(request)
  await call

  const other = await failure(app.client.startSignature({ ...request, customerId: 'customer-2' }))
  expect(other).toMatchObject({ code: Code.FailedPrecondition, reason: 'IDEMPOTENCY_KEY_REUSED' })

  provider.answer()
  await starting
})

test('a repeated start is told to wait while the provider has not answered, and then what it answered', async () => {
  await using provider = await holdBackAnswers()
  const replica = await app.replica({ TWILIO_API_URL: provider.url })
  const request = startRequest()
  const call = app.sandbox.nextCall()
  const starting = replica.client.startSignature(request)
  await call

  for (const { client } of [replica, app]) {
    const repeated = await failure(client.startSignature(request))
    expect(repeated).toMatchObject({ code: Code.Aborted, reason: 'IDEMPOTENCY_IN_PROGRESS' })
    expect(repeated.retryDelayMs).toBeGreaterThan(0)
  }

  provider.answer()
  const started = await starting
  expect(await app.client.startSignature(request)).toEqual(started)
  expect(app.sandbox.calls).toHaveLength(1)
})

test('a code signs before the provider has answered, and its message is recorded afterwards', async () => {
  await using provider = await holdBackAnswers()
  const { client } = await app.replica({ TWILIO_API_URL: provider.url })
  const call = app.sandbox.nextCall()
  const starting = client.startSignature(startRequest())
  const code = codeIn((await call).form.get('Body') ?? '')

  const { signatureId, challengeId } = await newest()
  expect(await row(app, 'signature', signatureId)).toMatchObject({ status: 'PENDING' })
  expect(await row(app, 'challenge', challengeId)).toMatchObject({ status: 'PENDING', delivery_status: null })
  const { challenge } = await app.client.getChallenge({ challengeId })
  expect(challenge).toMatchObject({
    status: ChallengeStatus.PENDING,
    deliveryStatus: DeliveryStatus.UNSPECIFIED,
    providerChallengeId: '',
  })
  expect(challenge?.sendTime).toBeUndefined()

  const completed = await app.client.completeSignature({ signatureId, code, transaction: transaction() })
  expect(completed.signature).toMatchObject({ status: SignatureStatus.SIGNED })

  provider.answer()
  const started = await starting
  const sid = app.sandbox.messages[0]?.sid
  expect(started.signature).toMatchObject({ id: signatureId, status: SignatureStatus.SIGNED })
  expect(started.challenge).toMatchObject({ status: ChallengeStatus.COMPLETED, providerChallengeId: sid })
  expect(await row(app, 'challenge', challengeId)).toMatchObject({
    status: 'COMPLETED',
    delivery_status: 'ACCEPTED',
    provider_challenge_id: sid,
    provider_proof: { httpStatus: 201 },
    sent_at: expect.any(Date),
  })
  expect(await timeline(app, signatureId)).toEqual([
    'SIGNATURE_STARTED',
    'CHALLENGE_STARTED',
    'SIGNATURE_SIGNED',
    'CHALLENGE_SENT',
  ])
})

test('a signature aborted before the provider has answered stays aborted, and its message is recorded', async () => {
  await using provider = await holdBackAnswers()
  const { client } = await app.replica({ TWILIO_API_URL: provider.url })
  const call = app.sandbox.nextCall()
  const starting = failure(client.startSignature(startRequest()))
  const code = codeIn((await call).form.get('Body') ?? '')
  const { signatureId, challengeId } = await newest()

  const other = transaction({ payeeName: 'Someone else' })
  await failure(app.client.completeSignature({ signatureId, code, transaction: other }))
  provider.answer()

  expect(await starting).toMatchObject({ reason: 'SIGNATURE_ABORTED', metadata: { signature_id: signatureId } })
  expect(await row(app, 'challenge', challengeId)).toMatchObject({
    status: 'CANCELLED',
    provider_challenge_id: app.sandbox.messages[0]?.sid,
  })
})

test('more deliveries than database connections can hang without keeping a read waiting', async () => {
  const { signature } = await app.client.startSignature(startRequest())
  const signatureId = signature?.id ?? ''
  await using provider = await holdBackAnswers()
  const { client, sandbox } = await app.replica({ TWILIO_API_URL: provider.url })

  const starting = Array.from({ length: 30 }, () => client.startSignature(startRequest()))
  await provider.held(30)

  const reads = await Promise.all(Array.from({ length: 40 }, () => client.getSignature({ signatureId })))
  expect(reads.map((read) => read.signature?.id)).toEqual(Array(40).fill(signatureId))
  // Sweepers are busy for a moment now and then.
  await expect.poll(busyConnections).toBe(0)

  provider.answer()
  await Promise.all(starting)
  expect(sandbox.messages).toHaveLength(31)
})

test('a start after its route is gone still gives the signature that its key belongs to', async () => {
  await using own = await startApp()
  const request = startRequest()
  const first = await own.client.startSignature(request)
  await publish(own, [route(1, { SMS: ['twilio-sms'] }, { customerSegment: 'nobody' })])

  expect(await failure(own.client.startSignature(startRequest()))).toMatchObject({ reason: 'NO_ROUTE' })
  expect(await own.client.startSignature(request)).toEqual(first)
})

const UUID_V7 = /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/

/** The simulator behind a door: it gets every call at once, and its answers come back only after `answer()`. */
async function holdBackAnswers() {
  const opened = Promise.withResolvers<void>()
  const waiting: (() => void)[] = []
  let held = 0
  const server = createServer(async (request, response) => {
    const body = await text(request)
    const { authorization = '', 'content-type': contentType = '' } = request.headers
    const answer = await fetch(app.sandbox.url + request.url, {
      method: request.method ?? 'GET',
      headers: { authorization, 'content-type': contentType },
      ...(body && { body }),
    })
    const answered = await answer.text()
    if (request.method === 'POST') {
      held += 1
      for (const look of waiting) look()
      await opened.promise
    }
    response.writeHead(answer.status, Object.fromEntries(answer.headers)).end(answered)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    answer: () => opened.resolve(),
    /** Resolves when this many answers are held back. */
    held: (wanted: number) =>
      new Promise<void>((resolve) => {
        waiting.push(() => held >= wanted && resolve())
      }),
    async [Symbol.asyncDispose]() {
      opened.resolve()
      server.close()
      server.closeAllConnections()
    },
  }
}

/** Connections to this database that are in a transaction or a statement, this look aside. */
async function busyConnections(): Promise<number> {
  const { rows } = await sql<{ busy: number }>`
    SELECT count(*)::int AS busy FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend' AND state <> 'idle'
  `.execute(app.db)
  return rows[0]?.busy ?? -1
}

async function newest(): Promise<{ signatureId: string; challengeId: string }> {
  return app.db
    .selectFrom('challenge')
    .orderBy('created_at', 'desc')
    .select(['signature_id as signatureId', 'id as challengeId'])
    .limit(1)
    .executeTakeFirstOrThrow()
}

async function count(table: 'signature' | 'challenge' | 'idempotency_key' | 'timeline' | 'attempt'): Promise<number> {
  const { rows } = await sql<{ n: number }>`SELECT count(*)::int AS n FROM ${sql.table(table)}`.execute(app.db)
  return rows[0]?.n ?? -1
}

async function countAll(): Promise<number[]> {
  return Promise.all((['signature', 'challenge', 'idempotency_key', 'timeline', 'attempt'] as const).map(count))
}

async function settled<T>(result: PromiseSettledResult<T>): Promise<T> {
  if (result.status === 'rejected') throw result.reason
  return result.value
}

type Time = NonNullable<NonNullable<StartSignatureResponse['signature']>['createTime']>

function millisecondsBetween(from: Time | undefined, to: Time | undefined): number {
  if (!from || !to) throw new Error('a time is missing')
  return timestampDate(to).getTime() - timestampDate(from).getTime()
}
