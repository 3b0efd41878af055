import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { createServer, type IncomingHttpHeaders } from 'node:http'
import type { AddressInfo } from 'node:net'
import { text } from 'node:stream/consumers'
import { inspect } from 'node:util'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { type ChallengeMessage, ProviderError, type SignatureProvider } from '../../src/providers/provider.ts'
import { createTwilioSms } from '../../src/providers/twilio-sms.ts'

const ACCOUNT = `AC${'0'.repeat(32)}`
const TOKEN = 'twilio-auth-token'
const NOW = new Date('2026-01-02T03:04:05.678Z')
const SID = `SM${'1'.repeat(32)}`

/** What the provider received last, and what it answers; undefined is nothing. */
let received: {
  method: string | undefined
  url: string | undefined
  headers: IncomingHttpHeaders
  form: URLSearchParams
}
let answer: { status: number; headers?: Record<string, string>; body: string } | undefined
let apiUrl: string
let provider: SignatureProvider
let close: () => void

beforeEach(async () => {
  answer = { status: 201, body: JSON.stringify({ sid: SID }) }
  const server = createServer(async (request, response) => {
    const { method, url, headers } = request
    received = { method, url, headers, form: new URLSearchParams(await text(request)) }
    if (answer) response.writeHead(answer.status, answer.headers).end(answer.body)
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  close = () => {
    server.close()
    server.closeAllConnections()
  }
  apiUrl = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  provider = twilioSms(apiUrl)
})
afterEach(() => close())

describe('a challenge', () => {
  test('is one authenticated POST of a form to the account', async () => {
    await provider.sendChallenge(message(), never())

    expect(received).toMatchObject({
      method: 'POST',
      url: `/2010-04-01/Accounts/${ACCOUNT}/Messages.json`,
      headers: {
        authorization: `Basic ${Buffer.from(`${ACCOUNT}:${TOKEN}`).toString('base64')}`,
        'content-type': 'application/x-www-form-urlencoded',
      },
    })
    expect(Object.fromEntries(received.form)).toEqual({
      To: '+34600111222',
      From: '+15005550006',
      Body: expect.stringContaining('012345'),
      ValidityPeriod: '300',
    })
  })

  test.each([
    {
      locale: 'en-GB',
      text: 'Pay 1,234.50 EUR to ACME Ltd? Your code to sign: 012345. Valid for 5 min. Never share it.',
    },
    {
      locale: 'es-ES',
      text: 'Pagar 1234,50 EUR a ACME Ltd. Su clave para firmar: 012345. Caduca en 5 min. No la comparta.',
    },
    { locale: 'de', text: 'Pay 1,234.50 EUR to ACME Ltd? Your code to sign: 012345. Valid for 5 min. Never share it.' },
  ])('for $locale reads as one would say it there', async ({ locale, text }) => {
    await provider.sendChallenge(message({ locale }), never())

    expect(received.form.get('Body')).toBe(text)
  })

  test('is valid at Twilio for the whole seconds that its code has left', async () => {
    await provider.sendChallenge(message({ expiresAt: new Date(NOW.getTime() + 89_999) }), never())

    expect(received.form.get('ValidityPeriod')).toBe('89')
    expect(received.form.get('Body')).toContain('Valid for 1 min')
  })

  test('whose code is as good as expired still asks for the second that Twilio wants at least', async () => {
    await provider.sendChallenge(message({ expiresAt: NOW }), never())

    expect(received.form.get('ValidityPeriod')).toBe('1')
  })

  test('that Twilio took gives the SID, the time, and the proof of the exchange', async () => {
    const body = JSON.stringify({ sid: SID, body: 'Your code to sign: 012345', to: '+34600111222' })
    answer = { status: 201, headers: { 'Twilio-Request-Id': 'RQ1', 'X-Other': 'kept' }, body }

    const result = await provider.sendChallenge(message(), never())

    expect(result).toEqual({
      providerChallengeId: SID,
      sentAt: NOW,
      providerProof: {
        requestId: 'RQ1',
        httpStatus: 201,
        headers: expect.objectContaining({ 'twilio-request-id': 'RQ1', 'x-other': 'kept' }),
        bodySha256: createHash('sha256').update(body).digest('hex'),
        signature: null,
        receivedAt: NOW.toISOString(),
      },
    })
    expect(inspect(result, { depth: null })).not.toMatch(/012345|600111222/)
  })

  test('keeps a signature that the answer carries', async () => {
    answer = { status: 201, headers: { 'X-Twilio-Signature': 'c2lnbmVk' }, body: JSON.stringify({ sid: SID }) }

    const { providerProof } = await provider.sendChallenge(message(), never())

    expect(providerProof).toMatchObject({ signature: 'c2lnbmVk', requestId: null })
  })

  test('goes to where the settings say, under a path if need be', async () => {
    await twilioSms(`${apiUrl}/twilio`).sendChallenge(message(), never())

    expect(received.url).toBe(`/twilio/2010-04-01/Accounts/${ACCOUNT}/Messages.json`)
  })
})

describe('an answer of Twilio', () => {
  test.each([
    { status: 400, code: 21211, failureClass: 'recipient', why: 'the number is not valid' },
    { status: 400, code: 21217, failureClass: 'recipient', why: 'the number does not look valid' },
    { status: 400, code: 21265, failureClass: 'recipient', why: 'the number is a short code' },
    { status: 403, code: 21408, failureClass: 'recipient', why: 'the region is not permitted' },
    { status: 400, code: 21610, failureClass: 'recipient', why: 'the recipient opted out' },
    { status: 400, code: 21612, failureClass: 'recipient', why: 'our number does not reach it' },
    { status: 400, code: 21614, failureClass: 'recipient', why: 'the number is no mobile' },
    { status: 400, code: 21635, failureClass: 'recipient', why: 'the number is a landline' },
    { status: 401, code: 20003, failureClass: 'ours', why: 'our credentials are wrong' },
    { status: 400, code: 21212, failureClass: 'ours', why: 'our sender is not valid' },
    { status: 400, code: 21606, failureClass: 'ours', why: 'our sender sends no texts' },
    { status: 400, code: 99999, failureClass: 'ours', why: 'for a reason unknown to us' },
    { status: 429, code: 20429, failureClass: 'transient', why: 'too many calls were made' },
    { status: 429, code: 21611, failureClass: 'ours', why: "our sender's queue is full" },
    { status: 500, code: 20500, failureClass: 'transient', why: 'something broke' },
    { status: 500, code: 21614, failureClass: 'transient', why: 'something broke, whatever its code says' },
    { status: 503, code: 20503, failureClass: 'transient', why: 'it is overloaded' },
  ])('with $status and $code is $failureClass: $why', async ({ status, code, failureClass }) => {
    answer = { status, body: JSON.stringify({ code, message: 'secret +34600111222', status }) }

    expect(await failureOf(provider)).toMatchObject({
      provider: 'twilio-sms',
      providerErrorCode: String(code),
      failureClass,
    })
  })

  test.each([
    { status: 307, body: '', failureClass: 'ours' },
    { status: 400, body: '{"code":"21614"}', failureClass: 'ours' },
    { status: 401, body: 'null', failureClass: 'ours' },
    { status: 429, body: '<html>', failureClass: 'transient' },
    { status: 502, body: '<html>', failureClass: 'transient' },
  ])('with $status and no code of its own ($body) is $failureClass', async ({ status, body, failureClass }) => {
    answer = { status, body }

    expect(await failureOf(provider)).toMatchObject({ providerErrorCode: `HTTP_${status}`, failureClass })
  })

  test('with 429 says how long to wait', async () => {
    answer = { status: 429, headers: { 'Retry-After': '3' }, body: '{"code":20429}' }

    expect(await failureOf(provider)).toMatchObject({ retryAfterMs: 3_000 })
  })

  test.each([
    'not json',
    '',
    'null',
    '[]',
    '"SM1"',
    '{}',
    '{"sid":""}',
    '{"sid":7}',
    '{"sid":"SM1"}',
    '{"sid":"SM\\u0000"}',
  ])('with 201 and the body %s is unproven', async (body) => {
    answer = { status: 201, body }

    expect(await failureOf(provider)).toMatchObject({ providerErrorCode: 'UNUSABLE_BODY', failureClass: 'unproven' })
  })

  test('may be a 200', async () => {
    answer = { status: 200, body: JSON.stringify({ sid: SID }) }

    expect(await provider.sendChallenge(message(), never())).toMatchObject({ providerChallengeId: SID })
  })
})

test('a failure shows no credential, phone number, code or text', async () => {
  answer = { status: 400, body: '{"code":21606,"message":"+34600111222 can not get: your code 012345"}' }

  const error = await failureOf(provider)

  const told = [inspect(error, { depth: null, showHidden: true }), JSON.stringify(error)].join()
  expect(told).not.toMatch(/600111222|012345|ACME/)
  expect(told).not.toContain(TOKEN)
  expect(told).not.toContain(Buffer.from(`${ACCOUNT}:${TOKEN}`).toString('base64'))
})

describe('the provider is available', () => {
  test('when its account is active', async () => {
    answer = { status: 200, body: `{"sid":"${ACCOUNT}","status":"active"}` }

    expect(await provider.isAvailable(never())).toBe(true)
    expect(received).toMatchObject({
      method: 'GET',
      url: `/2010-04-01/Accounts/${ACCOUNT}.json`,
      headers: { authorization: `Basic ${Buffer.from(`${ACCOUNT}:${TOKEN}`).toString('base64')}` },
    })
  })

  test.each([
    { what: 'its account is suspended', status: 200, body: `{"sid":"${ACCOUNT}","status":"suspended"}` },
    { what: 'it does not know our credentials', status: 401, body: '{"code":20003}' },
    { what: 'it fails', status: 500, body: '' },
    { what: 'it makes no sense', status: 200, body: '<html>' },
  ])('no longer when $what', async ({ status, body }) => {
    answer = { status, body }

    expect(await provider.isAvailable(never())).toBe(false)
  })

  test('no longer when it does not answer in time', async () => {
    answer = undefined

    expect(await provider.isAvailable(AbortSignal.timeout(100))).toBe(false)
  })
})

function twilioSms(apiUrl: string): SignatureProvider {
  return createTwilioSms({
    accountSid: ACCOUNT,
    authToken: TOKEN,
    fromNumber: '+15005550006',
    apiUrl,
    clock: () => NOW,
  })
}

function message(fields: Partial<ChallengeMessage> = {}): ChallengeMessage {
  return {
    challengeId: 'challenge-1',
    phone: '+34600111222',
    code: '012345',
    transaction: {
      amount: { currency: 'EUR', units: 1234n, nanos: 500_000_000 },
      payeeName: 'ACME Ltd',
      payeeAccount: 'ES9121000418450200051332',
      transactionType: 'SEPA_CREDIT_TRANSFER',
      reference: 'Invoice 7',
    },
    locale: 'en',
    expiresAt: new Date(NOW.getTime() + 300_000),
    ...fields,
  }
}

function never(): AbortSignal {
  return new AbortController().signal
}

async function failureOf(twilio: SignatureProvider): Promise<ProviderError> {
  const error = await twilio.sendChallenge(message(), never()).catch((thrown: unknown) => thrown)
  if (!(error instanceof ProviderError)) throw new Error('expected a ProviderError', { cause: error })
  return error
}
