import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { ChallengeStatus, Channel, DeliveryStatus, SignatureStatus } from '../../gen/bank/signature/v1/signature_pb.ts'
import { unseal } from '../../src/domain/sealed.ts'
import type { SimulatedCall } from '../../src/sandbox/sandbox.ts'
import type { ProviderName } from '../../src/sandbox/simulated-vendors.ts'
import { type App, failure, PHONE, randomKey, row, startApp, startRequest, transaction } from '../support/app.ts'
import { exchangesOf } from '../support/exchange.ts'
import { challengesOf, codeOf, history } from '../support/hops.ts'
import { publish, route } from '../support/routing.ts'

const PUSH_TOKEN = `fcm-token:${'x'.repeat(140)}`
const PII_KEY = randomKey()

let app: App
beforeAll(async () => {
  app = await startApp({ PII_KEYS: `p1:${PII_KEY}` })
  await publish(app, [
    route(10, { VOICE: ['twilio-voice'] }, { customerSegment: 'PHONE' }),
    route(20, { SMS: ['vonage-sms'] }, { customerSegment: 'TEXT' }),
    route(30, { PUSH: ['fcm-push'] }, { customerSegment: 'APP' }),
    route(40, { SMS: ['twilio-sms'] }),
  ])
})
beforeEach(() => app.sandbox.clear())
afterAll(() => app[Symbol.asyncDispose]())

interface Path {
  provider: ProviderName
  channel: 'SMS' | 'VOICE' | 'PUSH'
  segment: string
  vendor: string
  id: RegExp
  requestId: RegExp
  /** What the customer is told by a call to the vendor. */
  told: (call: SimulatedCall) => string
  en: RegExp
  es: RegExp
}

const PATHS: Path[] = [
  {
    provider: 'twilio-voice',
    channel: 'VOICE',
    segment: 'PHONE',
    vendor: 'twilio',
    id: /^CA[0-9a-f]{32}$/,
    requestId: /^RQ/,
    told: ({ form }) => form.get('Twiml') ?? '',
    en: /<Say language="en-GB">Pay 125\.50 euros to the payee named:<\/Say><Pause length="1"\/><Say language="en-GB">ACME Ltd<\/Say>/,
    es: /<Say language="es-ES">Pagar 125,50 euros al beneficiario llamado:<\/Say><Pause length="1"\/><Say language="es-ES">ACME Ltd<\/Say>/,
  },
  {
    provider: 'vonage-sms',
    channel: 'SMS',
    segment: 'TEXT',
    vendor: 'vonage',
    id: /^[0-9a-f-]{36}$/,
    requestId: /^[0-9a-f-]{36}$/,
    told: ({ json }) => (json as { text: string }).text,
    en: /^Pay 125\.50 EUR to "ACME Ltd", account \.\.\.1332\? Your code to sign: \d{6}\./,
    es: /^Pagar 125,50 EUR a "ACME Ltd", cuenta \.\.\.1332\. Su clave para firmar: \d{6}\./,
  },
  {
    provider: 'fcm-push',
    channel: 'PUSH',
    segment: 'APP',
    vendor: 'fcm',
    id: /^projects\/.+\/messages\/.+$/,
    requestId: /^$/,
    told: ({ json }) => (json as { message: { data: { text: string } } }).message.data.text,
    en: /^Pay 125\.50 EUR to "ACME Ltd", account \.\.\.1332\?$/,
    es: /^¿Pagar 125,50 EUR a "ACME Ltd", cuenta \.\.\.1332\?$/,
  },
]

describe.each(PATHS)('over $provider', ({ provider, channel, segment, vendor, id, requestId, told, en, es }) => {
  const request = (fields = {}) => startRequest({ customerSegment: segment, pushToken: PUSH_TOKEN, ...fields })

  test.each([
    { locale: 'en-GB', says: en },
    { locale: 'es-ES', says: es },
  ])('what the customer is told in $locale signs', async ({ locale, says }) => {
    const { signature, challenge } = await app.client.startSignature(request({ locale }))

    expect(challenge).toMatchObject({
      provider,
      channel: Channel[channel],
      status: ChallengeStatus.SENT,
      deliveryStatus: DeliveryStatus.ACCEPTED,
      providerChallengeId: expect.stringMatching(id),
      maskedPhoneNumber: '+34*****222',
      passedOver: [],
    })
    const [call = expect.unreachable(), ...others] = app.sandbox.calls
    expect(others).toEqual([])
    expect(call.provider).toBe(provider)
    expect(told(call)).toMatch(says)
    const signatureId = signature?.id ?? ''
    const signed = await app.client.completeSignature({
      signatureId,
      code: codeOf(call, app.env),
      transaction: transaction(),
    })
    expect(signed.signature?.status).toBe(SignatureStatus.SIGNED)
    expect(await history(app, signatureId)).toEqual([
      'SIGNATURE_STARTED',
      `CHALLENGE_STARTED #1 ${provider}`,
      `CHALLENGE_SENT #1 ${provider} after 1`,
      'SIGNATURE_SIGNED #1',
    ])
  })

  test('proof and calls are stored, and counted for the vendor', async () => {
    await using replica = await app.replica()
    app.sandbox.failNext({ provider, status: 503 })

    const { signature, challenge } = await replica.client.startSignature(request())

    const [stored = expect.unreachable()] = await challengesOf(app, signature?.id)
    expect(stored).toMatchObject({
      provider,
      channel,
      provider_challenge_id: challenge?.providerChallengeId,
      provider_proof: {
        httpStatus: expect.toSatisfy((status) => status >= 200 && status < 300),
        receivedAt: stored.sent_at?.toISOString(),
      },
      attempts: [expect.stringMatching(/^transient /), 'sent'],
    })
    expect(await exchangesOf(app, stored.id)).toEqual([
      null,
      { response: expect.objectContaining({ body: expect.stringContaining(stored.provider_challenge_id ?? '') }) },
    ])
    expect((stored.provider_proof as { requestId: string | null }).requestId ?? '').toMatch(requestId)
    const metrics = await replica.metrics()
    const code = stored.attempts[0]?.split(' ')[1]
    for (const line of [
      `provider_${vendor}_calls_total{status="success"} 1`,
      `provider_${vendor}_errors_total{error_code="${code}"} 1`,
      `provider_${vendor}_latency_seconds_count{status="success"} 1`,
      `provider_${vendor}_latency_seconds_count{status="error"} 1`,
      `challenge_deliveries_total{provider="${provider}",channel="${channel}",outcome="sent"} 1`,
    ]) {
      expect(metrics).toContain(`${line}\n`)
    }
    const vendors = new Set([...metrics.matchAll(/^provider_([a-z]+)_calls_total/gm)].map(([, name]) => name))
    expect([...vendors]).toEqual([vendor])
  })
})

test('a push is a data message with the ids, a text without the code, and the code beside it', async () => {
  const { signature, challenge } = await app.client.startSignature(
    startRequest({ customerSegment: 'APP', pushToken: PUSH_TOKEN }),
  )

  const [call = expect.unreachable()] = app.sandbox.calls
  const { message } = call.json as { message: Record<string, unknown> }
  expect(Object.keys(message).toSorted()).toEqual(['android', 'apns', 'data', 'token'])
  expect(message.token).toBe(PUSH_TOKEN)
  expect(message.data).toEqual({
    signature_id: signature?.id,
    challenge_id: challenge?.id,
    amount: '125.50 EUR',
    payee: 'ACME Ltd',
    account: '1332',
    text: 'Pay 125.50 EUR to "ACME Ltd", account ...1332?',
    code: expect.stringMatching(/^\d{6}$/),
    expires_at: expect.stringMatching(/^\d{4}-.*Z$/),
  })
  expect(JSON.stringify(message)).not.toContain(PHONE.slice(1))
})

test('a text by Vonage bears the id of the challenge and goes to the number without its plus', async () => {
  const { challenge } = await app.client.startSignature(startRequest({ customerSegment: 'TEXT' }))

  expect(app.sandbox.calls[0]?.json).toMatchObject({
    to: PHONE.slice(1),
    from: 'Bank',
    client_ref: `${challenge?.id}.1`,
    message_type: 'text',
    channel: 'sms',
  })
  expect(app.sandbox.messages[0]).toMatchObject({ provider: 'vonage-sms', to: PHONE })
})

test('push token and segment are stored, the token only sealed for its place', async () => {
  const request = startRequest({ customerSegment: 'APP', pushToken: PUSH_TOKEN, channel: Channel.PUSH })

  const { signature } = await app.client.startSignature(request)

  const stored = await row(app, 'signature', signature?.id ?? '')
  expect(stored).toMatchObject({ customer_segment: 'APP', requested_channel: 'PUSH', push_token_key_id: 'p1' })
  const sealed = { keyId: 'p1', ciphertext: stored?.push_token_ciphertext as Buffer }
  const keys = { currentId: 'p1', byId: new Map([['p1', Buffer.from(PII_KEY, 'base64')]]) }
  expect(unseal(keys, sealed, `${signature?.id}/push_token`)).toBe(PUSH_TOKEN)
  for (const place of [signature?.id, `${randomUUID()}/push_token`]) {
    expect(() => unseal(keys, sealed, String(place))).toThrow()
  }
})

test('without push token and segment, none is stored', async () => {
  const { signature } = await app.client.startSignature(startRequest())

  expect(await row(app, 'signature', signature?.id ?? '')).toMatchObject({
    customer_segment: '',
    requested_channel: null,
    push_token_ciphertext: null,
    push_token_key_id: null,
  })
})

test.each([
  { what: 'another push token', fields: { pushToken: 'another' } },
  { what: 'no push token', fields: { pushToken: '' } },
  { what: 'another segment', fields: { customerSegment: 'TEXT' } },
  { what: 'no segment', fields: { customerSegment: '' } },
])('the same key with $what is another request', async ({ fields }) => {
  const request = startRequest({ customerSegment: 'PHONE', pushToken: PUSH_TOKEN })
  const answer = await app.client.startSignature(request)
  expect(await app.client.startSignature(request)).toEqual(answer)

  const error = await failure(app.client.startSignature({ ...request, ...fields }))

  expect(error).toMatchObject({ reason: 'IDEMPOTENCY_KEY_REUSED' })
  expect(app.sandbox.calls).toHaveLength(1)
})

test('a push token has up to 4,096 characters, and a segment up to 64', async () => {
  const longest = { pushToken: 't'.repeat(4_096), customerSegment: 's'.repeat(64) }
  const { challenge } = await app.client.startSignature(startRequest(longest))
  expect(challenge?.status).toBe(ChallengeStatus.SENT)
  const tooLong = { pushToken: 't'.repeat(4_097), customerSegment: 's'.repeat(65) }

  const error = await failure(app.client.startSignature(startRequest(tooLong)))

  expect(error).toMatchObject({ reason: 'INVALID_FIELD', fields: ['push_token', 'customer_segment'] })
})
