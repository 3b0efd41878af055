import { timestampDate } from '@bufbuild/protobuf/wkt'
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest'
import { type App, failure, PHONE, startApp, startRequest } from '../support/app.ts'
import { attempts, expectSent, expectUnknown, SENT } from '../support/delivery-outcome.ts'
import { exchangesOf } from '../support/exchange.ts'

let app: App
beforeAll(async () => {
  app = await startApp()
})
beforeEach(() => app.sandbox.clear())
afterAll(() => app[Symbol.asyncDispose]())

test('a code goes out in one message that names the transaction and is valid as long as the code', async () => {
  const answer = await app.client.startSignature(startRequest())

  await expectSent(app, answer, [SENT])
  expect(app.sandbox.calls).toHaveLength(1)
  const form = app.sandbox.calls[0]?.form
  expect(form?.get('To')).toBe(PHONE)
  expect(form?.get('From')).toBe('+15005550006')
  expect(form?.get('Body')).toMatch(
    /^Pay 125\.50 EUR to "ACME Ltd", account \.\.\.1332\? Your code to sign: \d{6}\. Valid for [45] min\./,
  )
  expect(['300', '299']).toContain(form?.get('ValidityPeriod'))
})

test('a code goes out in the language of the locale', async () => {
  await app.client.startSignature(startRequest({ locale: 'es-ES' }))

  expect(app.sandbox.messages[0]?.body).toMatch(
    /^Pagar 125,50 EUR a "ACME Ltd", cuenta \.\.\.1332\. Su clave para firmar: \d{6}\./,
  )
})

test('the time that a code is valid is set for all: challenge, message and provider', async () => {
  await using replica = await app.replica({ CHALLENGE_TTL_SECONDS: '120' })

  const { challenge } = await replica.client.startSignature(startRequest())

  expect(['120', '119']).toContain(app.sandbox.calls[0]?.form.get('ValidityPeriod'))
  expect(app.sandbox.messages[0]?.body).toMatch(/ Valid for (119 s|2 min)\./)
  const { created_at, expires_at } = await challengeRow(challenge?.id)
  expect(expires_at.getTime() - created_at.getTime()).toBe(120_000)
})

test('what the provider answered is kept as proof, with the moment and the call', async () => {
  const body = JSON.stringify({ sid: `SM${'7'.repeat(32)}`, status: 'queued' })
  app.sandbox.failNext({ body, latencyMs: 50 })
  const before = new Date()

  const { challenge } = await app.client.startSignature(startRequest())

  const after = new Date()
  const { sent_at, provider_challenge_id, provider_proof } = await challengeRow(challenge?.id)
  expect(provider_challenge_id).toBe(`SM${'7'.repeat(32)}`)
  expect(challenge?.providerChallengeId).toBe(provider_challenge_id)
  expect(challenge?.sendTime && timestampDate(challenge.sendTime)).toEqual(sent_at)
  expect(provider_proof).toEqual({
    requestId: expect.stringMatching(/^RQ[0-9a-f]{32}$/),
    httpStatus: 201,
    headers: expect.objectContaining({
      'content-type': 'application/json;charset=utf-8',
      'twilio-request-id': expect.stringMatching(/^RQ[0-9a-f]{32}$/),
    }),
    receivedAt: sent_at?.toISOString(),
  })
  expect(await exchangesOf(app, challenge?.id ?? '')).toEqual([
    { response: { status: 201, headers: (provider_proof as { headers: unknown }).headers, body } },
  ])
  const [call] = await attempts(app, challenge?.id)
  expect(Number(call?.ended_at) - Number(call?.started_at)).toBeGreaterThanOrEqual(49)
  const moments = [before, call?.started_at, sent_at, call?.ended_at, after].map(Number)
  expect(moments).toEqual(moments.toSorted((a, b) => a - b))
})

test('deliveries are counted by how they ended, and calls by the time they took and the code they failed with', async () => {
  await using replica = await app.replica({ TWILIO_TIMEOUT_SECONDS: '0.3' })
  app.sandbox.failNext({ status: 503 }, { latencyMs: 120 })
  await replica.client.startSignature(startRequest())
  app.sandbox.failNext({ status: 500 }, { status: 503 }, { status: 500 }, { status: 500 })
  await failure(replica.client.startSignature(startRequest()))
  await failure(replica.client.startSignature(startRequest({ phoneNumber: '+15005550009' })))
  app.sandbox.failNext({ drip: true })
  await replica.client.startSignature(startRequest())

  const lines = (await replica.metrics()).split('\n').filter((line) => /^(provider_|challenge_deliveries)/.test(line))

  const values = Object.fromEntries(lines.map((line) => line.split(/ (?=[^ ]*$)/)))
  expect(values).toMatchObject({
    'provider_twilio_calls_total{status="success"}': '1',
    'provider_twilio_calls_total{status="failed_all_retries"}': '3',
    'provider_twilio_errors_total{error_code="20500"}': '3',
    'provider_twilio_errors_total{error_code="20503"}': '2',
    'provider_twilio_errors_total{error_code="21614"}': '1',
    'provider_twilio_errors_total{error_code="TIMEOUT"}': '1',
    'provider_twilio_latency_seconds_count{status="success"}': '1',
    'provider_twilio_latency_seconds_count{status="error"}': '7',
    'provider_twilio_latency_seconds_bucket{le="0.1",status="success"}': '0',
    'challenge_deliveries_total{provider="twilio-sms",channel="SMS",outcome="sent"}': '1',
    'challenge_deliveries_total{provider="twilio-sms",channel="SMS",outcome="failed"}': '2',
    'challenge_deliveries_total{provider="twilio-sms",channel="SMS",outcome="unknown"}': '1',
  })
  expect(Number(values['provider_twilio_latency_seconds_sum{status="error"}'])).toBeGreaterThanOrEqual(0.3)
})

test('a message that went out is logged once, with its SID', async () => {
  const { challenge } = await app.client.startSignature(startRequest())

  expect(logged(challenge?.id)).toEqual([
    expect.objectContaining({
      level: 'info',
      provider: 'twilio-sms',
      provider_challenge_id: app.sandbox.messages[0]?.sid,
      attempts: 1,
    }),
  ])
})

test('every failed call is logged with its number and code, and a warning says when none is left', async () => {
  app.sandbox.failNext({ status: 500 }, { status: 503 }, { status: 429 }, { reset: true })

  const answer = await app.client.startSignature(startRequest())

  await expectUnknown(app, answer, [
    ['transient', '20500'],
    ['transient', '20503'],
    ['transient', '20429'],
    ['unknown', 'ECONNRESET'],
  ])
  const error = { level: 'error', provider: 'twilio-sms' }
  expect(logged(answer.challenge?.id)).toEqual([
    expect.objectContaining({ ...error, attempt: 1, provider_error_code: '20500' }),
    expect.objectContaining({ ...error, attempt: 2, provider_error_code: '20503' }),
    expect.objectContaining({ ...error, attempt: 3, provider_error_code: '20429' }),
    expect.objectContaining({ ...error, attempt: 4, provider_error_code: 'ECONNRESET' }),
    expect.objectContaining({ level: 'warn', provider: 'twilio-sms', attempts: 4, outcome: 'unknown' }),
  ])
})

test('a call that fails before one that succeeds is logged, and no warning follows', async () => {
  app.sandbox.failNext({ status: 500 })

  const { challenge } = await app.client.startSignature(startRequest())

  expect(logged(challenge?.id).map(({ level }) => level)).toEqual(['error', 'info'])
})

/** What was logged of a delivery. */
function logged(challengeId: string | undefined) {
  return app.logs.filter((line) => line.challenge_id === challengeId && line.method === undefined)
}

function challengeRow(id: string | undefined) {
  return app.db.selectFrom('challenge').selectAll().where('id', '=', String(id)).executeTakeFirstOrThrow()
}
