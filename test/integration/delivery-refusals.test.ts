import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterAll, beforeAll, beforeEach, expect, inject, test } from 'vitest'
import { SignatureStatus } from '../../gen/bank/signature/v1/signature_pb.ts'
import type { Fault } from '../../src/sandbox/sandbox.ts'
import { type App, codeIn, failure, startApp, startRequest, transaction } from '../support/app.ts'
import { expectFailed, expectUnknown } from '../support/delivery-outcome.ts'

let app: App
beforeAll(async () => {
  app = await startApp({ TWILIO_TIMEOUT_SECONDS: '0.5' })
})
beforeEach(() => app.sandbox.clear())
afterAll(() => app[Symbol.asyncDispose]())

const OVER_64_KIB = JSON.stringify({ sid: `SM${'0'.repeat(32)}`, padding: ' '.repeat(65_536) })

test.each([
  { code: '21211', phoneNumber: '+15005550001', why: 'is no valid number' },
  { code: '21610', phoneNumber: '+15005550004', why: 'has opted out' },
  { code: '21614', phoneNumber: '+15005550009', why: 'is not a mobile' },
])(
  'a phone that $why ($code) is called for once, and its caller is told to ask for another one',
  async ({ code, phoneNumber }) => {
    const request = startRequest({ phoneNumber })

    const error = await failure(app.client.startSignature(request))

    await expectFailed(app, error, 'DESTINATION_UNREACHABLE', [['recipient', code]])
    expect(app.sandbox.calls).toHaveLength(1)
    expect(await failure(app.client.startSignature(request))).toEqual(error)
    expect(app.sandbox.calls).toHaveLength(1)
  },
)

test.each<{ what: string; fault?: Fault; phoneNumber?: string; code: string }>([
  { what: 'a phone that our sender cannot reach', phoneNumber: '+15005550002', code: '21612' },
  { what: 'a phone in a region that our account may not send to', phoneNumber: '+15005550003', code: '21408' },
  { what: 'our own number', phoneNumber: inject('accounts').twilio.fromNumber, code: '21266' },
  { what: 'too many messages to one phone', fault: { status: 429, code: 14107, retryAfterSeconds: 0 }, code: '14107' },
  { what: 'a message refused by a code we have no meaning for', fault: { status: 400, code: 29999 }, code: '29999' },
])(
  '$what ($code) is not tried again, and its caller is told that no provider took the message',
  async ({ fault, phoneNumber, code }) => {
    if (fault) app.sandbox.failNext(fault)

    const error = await failure(app.client.startSignature(startRequest(phoneNumber ? { phoneNumber } : {})))

    await expectFailed(app, error, 'PROVIDER_UNAVAILABLE', [['pair', code]])
    expect(app.sandbox.calls).toHaveLength(1)
  },
)

test('codes that the vendor invents make no series of their own', async () => {
  const invented = Array.from({ length: 30 }, (_, n) => ({ status: n % 2 ? 400 : 403, code: 90_000 + n }))
  app.sandbox.failNext(...invented, { status: 400, code: 21606 })

  for (const _ of invented) await failure(app.client.startSignature(startRequest()))
  await failure(app.client.startSignature(startRequest()))

  const page = await app.metrics()
  const series = [...page.matchAll(/^provider_twilio_errors_total\{error_code="(\w+)"\}/gm)].map(([, code]) => code)
  expect(series).toEqual(expect.arrayContaining(['21606', 'other_ours', 'other_pair']))
  expect(series.filter((code) => code?.startsWith('900'))).toEqual([])
})

test('a phone that turns out to be unreachable after a 500 is reported as unreachable', async () => {
  app.sandbox.failNext({ status: 500 })

  const error = await failure(app.client.startSignature(startRequest({ phoneNumber: '+15005550009' })))

  await expectFailed(app, error, 'DESTINATION_UNREACHABLE', [
    ['transient', '20500'],
    ['recipient', '21614'],
  ])
})

test('an opt-out that answers the call after one that timed out leaves the outcome unknown', async () => {
  app.sandbox.failNext({ hang: true, sent: true }, { status: 400, code: 21610 })

  const answer = await app.client.startSignature(startRequest())

  await expectUnknown(app, answer, [
    ['unknown', 'TIMEOUT'],
    ['recipient', '21610'],
  ])
  expect(app.sandbox.calls).toHaveLength(2)
})

test.each<{ what: string; fault: Fault; code: string }>([
  { what: 'wrong credentials', fault: { status: 401 }, code: '20003' },
  { what: 'a forbidden account', fault: { status: 403 }, code: '20403' },
  { what: 'an account that is not there', fault: { status: 404 }, code: '20404' },
  { what: 'a sender that cannot send texts', fault: { status: 400, code: 21606 }, code: '21606' },
  { what: 'a code we have no meaning for', fault: { status: 403, code: 29999 }, code: '29999' },
  { what: 'a 4xx in no known form', fault: { status: 418, body: '<html>' }, code: 'HTTP_418' },
  { what: 'a full queue of our sender', fault: { status: 429, code: 21611, retryAfterSeconds: 0 }, code: '21611' },
])(
  'a refusal that is our fault ($what, $code) is not tried again and is logged as an error',
  async ({ fault, code }) => {
    app.sandbox.failNext(fault)

    const error = await failure(app.client.startSignature(startRequest()))

    await expectFailed(app, error, 'PROVIDER_UNAVAILABLE', [['ours', code]])
    expect(app.sandbox.calls).toHaveLength(1)
    expect(logged(error.metadata.challenge_id)).toEqual([
      expect.objectContaining({ level: 'error', attempt: 1, provider: 'twilio-sms', provider_error_code: code }),
      expect.objectContaining({ level: 'warn', attempts: 1 }),
    ])
  },
)

test.each([
  { from: '+15005550001', code: '21212' },
  { from: '+15005550007', code: '21606' },
  { from: '+15005550008', code: '21611' },
])('a sender that Twilio refuses with $code is called with once', async ({ from, code }) => {
  await using replica = await app.replica({ TWILIO_FROM_NUMBER: from })

  const error = await failure(replica.client.startSignature(startRequest()))

  await expectFailed(app, error, 'PROVIDER_UNAVAILABLE', [['ours', code]])
  expect(app.sandbox.calls).toHaveLength(1)
})

test('credentials that Twilio does not know fail a start', async () => {
  await using replica = await app.replica({ TWILIO_AUTH_TOKEN: 'not-the-token' })

  const error = await failure(replica.client.startSignature(startRequest()))

  await expectFailed(app, error, 'PROVIDER_UNAVAILABLE', [['ours', '20003']])
  expect(app.sandbox.messages).toHaveLength(0)
})

test('a redirect is not followed', async () => {
  let visits = 0
  const elsewhere = createServer((_, response) => {
    visits += 1
    response.writeHead(201).end('{"sid":"SM1"}')
  }).listen(0, '127.0.0.1')
  await once(elsewhere, 'listening')
  app.sandbox.failNext({ redirect: `http://127.0.0.1:${(elsewhere.address() as AddressInfo).port}/` })

  const error = await failure(app.client.startSignature(startRequest()))
  elsewhere.close()

  await expectFailed(app, error, 'PROVIDER_UNAVAILABLE', [['ours', 'HTTP_307']])
  expect(app.sandbox.calls).toHaveLength(1)
  expect(visits).toBe(0)
})

test.each<{ what: string; fault: Fault; code: string }>([
  { what: 'no JSON', fault: { body: 'not json' }, code: 'UNUSABLE_BODY' },
  { what: 'no body', fault: { body: '' }, code: 'UNUSABLE_BODY' },
  { what: 'no id', fault: { body: '{"status":"queued"}' }, code: 'UNUSABLE_BODY' },
  { what: 'an id that no row can hold', fault: { body: '{"sid":"SM\\u0000"}' }, code: 'UNUSABLE_BODY' },
  { what: 'more than 64 KiB', fault: { body: OVER_64_KIB }, code: 'BODY_TOO_LARGE' },
  { what: 'a body that only drips', fault: { drip: true }, code: 'TIMEOUT' },
])('a 201 with $what proves nothing, so nothing is sent twice and the code still signs', async ({ fault, code }) => {
  app.sandbox.failNext({ ...fault, sent: true })
  const request = startRequest()
  const startedMs = performance.now()

  const answer = await app.client.startSignature(request)

  expect(performance.now() - startedMs).toBeLessThan(5_000)
  await expectUnknown(app, answer, [['unproven', code]])
  expect(await app.client.startSignature(request)).toEqual(answer)
  expect(app.sandbox.calls).toHaveLength(1)
  const { signature } = await app.client.completeSignature({
    signatureId: answer.signature?.id ?? '',
    code: codeIn(app.sandbox.messages[0]?.body),
    transaction: transaction(),
  })
  expect(signature?.status).toBe(SignatureStatus.SIGNED)
})

function logged(challengeId: string | undefined) {
  return app.logs.filter((line) => line.challenge_id === challengeId && line.method === undefined)
}
