import twilio from 'twilio'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import type { Sandbox } from '../../src/sandbox/sandbox.ts'
import {
  accountSid,
  authToken,
  basic,
  FROM,
  ring,
  sandboxOnFreePort,
  TO,
  TWIML,
  text,
} from '../support/sandbox-client.ts'

const MESSAGES = `/2010-04-01/Accounts/${accountSid}/Messages.json`
const CALLS = `/2010-04-01/Accounts/${accountSid}/Calls.json`
const ACCOUNT = `/2010-04-01/Accounts/${accountSid}.json`

let sandbox: Sandbox

beforeEach(async () => {
  sandbox = await sandboxOnFreePort()
})
afterEach(() => sandbox[Symbol.asyncDispose]())

async function resourceOf(response: Response): Promise<Record<string, string>> {
  return (await response.json()) as Record<string, string>
}

async function expectError(response: Response, status: number, code: number): Promise<void> {
  expect(await response.json()).toEqual({
    code,
    message: expect.any(String),
    more_info: `https://www.twilio.com/docs/errors/${code}`,
    status,
  })
  expect(response.status).toBe(status)
  expect(response.headers.get('x-twilio-error-code')).toBe(String(code))
  expectHeaders(response)
}

function expectHeaders({ headers }: Response): void {
  expect(headers.get('content-type')).toBe('application/json;charset=utf-8')
  expect(headers.get('twilio-request-id')).toMatch(/^RQ[0-9a-f]{32}$/)
  expect(headers.get('twilio-concurrent-requests')).toBe('1')
  expect(headers.get('twilio-request-duration')).toMatch(/^\d+\.\d{3}$/)
}

/** A client of the real SDK whose requests go to the sandbox. */
function sdk(token = authToken) {
  const httpClient = new twilio.RequestClient()
  httpClient.request = async ({ method, uri, username = '', password = '', headers, data }) => {
    const response = await fetch(uri.replace('https://api.twilio.com', sandbox.url), {
      method,
      headers: { ...(headers as Record<string, string>), authorization: basic(username, password) },
      ...(data ? { body: new URLSearchParams(data as Record<string, string>) } : {}),
    })
    const body = JSON.parse(await response.text())
    return { statusCode: response.status, body, headers: Object.fromEntries(response.headers) }
  }
  return twilio(accountSid, token, { httpClient })
}

describe('the real Twilio SDK', () => {
  test('sends a message and reads every field of the answer', async () => {
    const answer = await sdk().messages.createWithHttpInfo({ to: TO, from: FROM, body: 'Hi', validityPeriod: 300 })
    expect(answer.statusCode).toBe(201)
    expect(answer.headers).toMatchObject({ 'twilio-request-id': expect.stringMatching(/^RQ[0-9a-f]{32}$/) })
    expect(answer.body).toMatchObject({ to: TO, from: FROM, body: 'Hi', status: 'queued', direction: 'outbound-api' })
    expect(answer.body.dateCreated).toBeInstanceOf(Date)
    expect(Math.abs(Date.now() - answer.body.dateCreated.getTime())).toBeLessThan(5_000)
    expect(answer.body.sid).toBe(sandbox.messages[0]?.sid)
    expect(sandbox.calls[0]?.form.get('ValidityPeriod')).toBe('300')
  })

  test('calls a phone', async () => {
    const call = await sdk().calls.create({ to: TO, from: FROM, twiml: TWIML, timeout: 30 })
    expect(call).toMatchObject({ to: TO, from: FROM, status: 'queued', direction: 'outbound-api', accountSid })
    expect(call.sid).toBe(sandbox.messages[0]?.sid)
    expect(sandbox.calls[0]?.form.get('Timeout')).toBe('30')
  })

  test('is told that the account is active', async () => {
    expect(await sdk().api.v2010.accounts(accountSid).fetch()).toMatchObject({ sid: accountSid, status: 'active' })
  })

  test('is told of a refusal by its code', async () => {
    const sending = sdk().messages.create({ to: '+15005550004', from: FROM, body: 'Hi' })
    await expect(sending).rejects.toMatchObject({ status: 400, code: 21610 })
    const calling = sdk().calls.create({ to: '+15005550004', from: FROM, twiml: TWIML })
    await expect(calling).rejects.toMatchObject({ status: 400, code: 21216 })
  })

  test('is told of a wrong token', async () => {
    const sending = sdk('wrong').messages.create({ to: TO, from: FROM, body: 'Hi' })
    await expect(sending).rejects.toMatchObject({ status: 401, code: 20003 })
  })
})

describe('a message', () => {
  test('is answered with the whole resource and the headers of Twilio', async () => {
    const response = await text(sandbox)
    const message = await resourceOf(response)
    const uri = `/2010-04-01/Accounts/${accountSid}/Messages/${message.sid}`
    expect(response.status).toBe(201)
    expectHeaders(response)
    expect(message).toEqual({
      account_sid: accountSid,
      api_version: '2010-04-01',
      body: 'Your code is 123456',
      date_created: expect.stringMatching(/^\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d \+0000$/),
      date_sent: null,
      date_updated: message.date_created,
      direction: 'outbound-api',
      error_code: null,
      error_message: null,
      from: FROM,
      messaging_service_sid: null,
      num_media: '0',
      num_segments: '1',
      price: null,
      price_unit: null,
      sid: expect.stringMatching(/^SM[0-9a-f]{32}$/),
      status: 'queued',
      subresource_uris: { media: `${uri}/Media.json` },
      to: TO,
      uri: `${uri}.json`,
    })
  })

  test('is kept as an SMS with its text', async () => {
    const { sid } = await resourceOf(await text(sandbox))
    const kept = { sid, provider: 'twilio-sms', to: TO, from: FROM, body: 'Your code is 123456', status: 'queued' }
    expect(sandbox.messages).toEqual([{ ...kept, created_at: expect.any(String) }])
    expect(sandbox.calls[0]?.provider).toBe('twilio-sms')
  })

  test('through a messaging service has no sender and no segments yet', async () => {
    const service = `MG${'1'.repeat(32)}`
    const body = new URLSearchParams({ To: TO, MessagingServiceSid: service, Body: 'Hi' })
    const expected = { from: null, messaging_service_sid: service, num_segments: '0', status: 'accepted' }
    expect(await (await text(sandbox, {}, { body })).json()).toMatchObject(expected)
    expect(sandbox.messages[0]).toMatchObject({ from: service, status: 'accepted' })
  })

  test.each([
    ['160 GSM-7 characters', 'a'.repeat(160), '1'],
    ['161 GSM-7 characters', 'a'.repeat(161), '2'],
    ['a euro sign that takes two places', `${'a'.repeat(159)}€`, '2'],
    ['70 characters with one outside GSM-7', `${'a'.repeat(69)}ł`, '1'],
    ['71 characters with one outside GSM-7', `${'a'.repeat(70)}ł`, '2'],
    ['1600 characters', 'a'.repeat(1_600), '11'],
  ])('of %s counts its segments', async (_, Body, segments) => {
    expect((await resourceOf(await text(sandbox, { Body }))).num_segments).toBe(segments)
  })

  test.each([
    ['no recipient', { To: '' }, 400, 21604],
    ['no sender', { From: '' }, 400, 21603],
    ['no body', { Body: '' }, 400, 21602],
    ['a recipient that is not E.164', { To: '600111222' }, 400, 21211],
    ['its sender for a recipient', { To: FROM }, 400, 21266],
    ['a body over 1600 characters', { Body: 'a'.repeat(1_601) }, 400, 21617],
    ['a validity period of 0', { ValidityPeriod: '0' }, 400, 21624],
    ['a validity period over ten hours', { ValidityPeriod: '36001' }, 400, 21624],
    ['a validity period that is no number', { ValidityPeriod: 'soon' }, 400, 21624],
    ['the invalid recipient', { To: '+15005550001' }, 400, 21211],
    ['the unroutable recipient', { To: '+15005550002' }, 400, 21612],
    ['the recipient in a forbidden region', { To: '+15005550003' }, 400, 21408],
    ['the recipient that opted out', { To: '+15005550004' }, 400, 21610],
    ['the recipient without SMS', { To: '+15005550009' }, 400, 21614],
    ['the invalid sender', { From: '+15005550001' }, 400, 21212],
    ['the sender of another account', { From: '+15005550007' }, 400, 21606],
    ['the sender with a full queue', { From: '+15005550008' }, 429, 21611],
  ])('with %s is refused', async (_, form, status, code) => {
    await expectError(await text(sandbox, form), status, code)
    expect(sandbox.messages).toEqual([])
    expect(sandbox.calls).toHaveLength(1)
  })

  test.each(['1', '36000'])('with a validity period of %s s is taken', async (ValidityPeriod) => {
    expect((await text(sandbox, { ValidityPeriod })).status).toBe(201)
  })

  test('in a body that is no form is refused like an empty one', async () => {
    await expectError(await text(sandbox, {}, { body: '%E0%A4%A&&=&To' }), 400, 21604)
    await expectError(await text(sandbox, {}, { body: new URLSearchParams() }), 400, 21604)
  })

  test('in a malformed form is refused for what can be read of it', async () => {
    const headers = {
      authorization: basic(accountSid, authToken),
      'content-type': 'application/x-www-form-urlencoded',
    }
    await expectError(await text(sandbox, {}, { headers, body: '%E0%A4%A&&=&To=%ZZ&From=x&Body=%00' }), 400, 21211)
  })

  test('from a name rather than a number is taken', async () => {
    expect((await resourceOf(await text(sandbox, { From: 'constructor' }))).from).toBe('constructor')
  })

  test('over 64 KiB is refused before it counts as a call', async () => {
    await expectError(await text(sandbox, { Body: 'a'.repeat(65_536) }), 413, 20413)
    expect(sandbox.calls).toEqual([])
  })
})

describe('a phone call', () => {
  test('is answered with the whole resource and the headers of Twilio', async () => {
    const response = await ring(sandbox)
    const call = await resourceOf(response)
    const uri = `/2010-04-01/Accounts/${accountSid}/Calls/${call.sid}`
    expect(response.status).toBe(201)
    expectHeaders(response)
    expect(call).toEqual({
      account_sid: accountSid,
      annotation: null,
      answered_by: null,
      api_version: '2010-04-01',
      caller_name: null,
      date_created: null,
      date_updated: null,
      direction: 'outbound-api',
      duration: null,
      end_time: null,
      forwarded_from: null,
      from: FROM,
      from_formatted: '(500) 555-0006',
      group_sid: null,
      parent_call_sid: null,
      phone_number_sid: expect.stringMatching(/^PN[0-9a-f]{32}$/),
      price: null,
      price_unit: 'USD',
      queue_time: '0',
      sid: expect.stringMatching(/^CA[0-9a-f]{32}$/),
      start_time: null,
      status: 'queued',
      subresource_uris: { notifications: `${uri}/Notifications.json`, recordings: `${uri}/Recordings.json` },
      to: TO,
      to_formatted: TO,
      trunk_sid: null,
      uri: `${uri}.json`,
    })
    const kept = { sid: call.sid, provider: 'twilio-voice', to: TO, from: FROM, status: 'queued' }
    expect(sandbox.messages).toEqual([{ ...kept, body: 'Your code is 123456', created_at: expect.any(String) }])
    expect(sandbox.calls[0]?.provider).toBe('twilio-voice')
  })

  test.each([
    ['tags and breaks', '<Response><Say>Your  code\n is</Say><Pause length="1"/><Say>1, 2</Say></Response>'],
    [
      'a prologue and attributes',
      `<?xml version="1.0"?>\n<Response><Say voice='x' loop="2">Your code is 1, 2</Say></Response>\n`,
    ],
    [
      'tags within what is said',
      '<Response><Say>Your <emphasis>code</emphasis> is<break time="1s"/> 1, 2</Say></Response>',
    ],
    ['a comment', '<Response><!-- a > b\n --><Say>Your code is 1, 2</Say></Response>'],
    ['numbered entities', '<Response><Say>&#89;our code is&#x20;1, 2</Say></Response>'],
  ])('with %s in its TwiML is kept with what is said', async (_, Twiml) => {
    expect((await ring(sandbox, { Twiml })).status).toBe(201)
    expect(sandbox.messages[0]?.body).toBe('Your code is 1, 2')
  })

  test('says what its entities stand for, once', async () => {
    await ring(sandbox, { Twiml: '<Response><Say>&lt;A&gt; &amp; &quot;B&apos; &amp;lt; ł &#128273;</Say></Response>' })
    expect(sandbox.messages[0]?.body).toBe('<A> & "B\' &lt; ł 🔑')
  })

  test.each([TWIML, '<Respon'])('whose TwiML is elsewhere is kept without words, whatever %s says', async (Twiml) => {
    expect((await ring(sandbox, { Url: 'https://bank.test/twiml', Twiml })).status).toBe(201)
    expect(sandbox.messages[0]?.body).toBe('')
  })

  test.each([
    ['no recipient', { To: '' }, 21201],
    ['no caller', { From: '' }, 21213],
    ['neither TwiML nor an address of it', { Twiml: '' }, 21205],
    ['an address that is no URL', { Url: 'bank.test/twiml' }, 21205],
    ['an address that is not on the web', { Url: 'ftp://bank.test/twiml' }, 21205],
    ['a recipient that is not E.164', { To: '600111222' }, 21211],
    ['a caller that is a name', { From: 'Bank' }, 21212],
    ['TwiML over 4000 characters', { Twiml: twimlOf(4_001) }, 21200],
    ['TwiML that is not closed', { Twiml: '<Response><Say>Hi</Say>' }, 12100],
    ['TwiML closed in another order', { Twiml: '<Response><Say>Hi</Response></Say>' }, 12100],
    ['TwiML of another root', { Twiml: '<Say>Hi</Say>' }, 12100],
    ['TwiML of two roots', { Twiml: '<Response/><Response/>' }, 12100],
    ['text around TwiML', { Twiml: `Hi ${TWIML}` }, 12100],
    ['text and no TwiML', { Twiml: 'Your code is 123456' }, 12100],
    ['a bare & in its TwiML', { Twiml: '<Response><Say>A & B</Say></Response>' }, 12100],
    ['an unknown entity in its TwiML', { Twiml: '<Response><Say>A&nbsp;B</Say></Response>' }, 12100],
    ['a bare < in its TwiML', { Twiml: '<Response><Say>1 < 2</Say></Response>' }, 12100],
    ['an attribute without quotes in its TwiML', { Twiml: '<Response><Pause length=1/></Response>' }, 12100],
    ['a timeout of 0', { Timeout: '0' }, 21208],
    ['a timeout over ten minutes', { Timeout: '601' }, 21208],
    ['a timeout that is no number', { Timeout: 'soon' }, 21208],
    ['the invalid recipient', { To: '+15005550001' }, 21217],
    ['the unroutable recipient', { To: '+15005550002' }, 21214],
    ['the recipient in a forbidden region', { To: '+15005550003' }, 21215],
    ['the recipient that may not be called', { To: '+15005550004' }, 21216],
    ['the invalid caller', { From: '+15005550001' }, 21212],
  ])('with %s is refused', async (_, form, code) => {
    await expectError(await ring(sandbox, form), 400, code)
    expect(sandbox.messages).toEqual([])
    expect(sandbox.calls).toHaveLength(1)
  })

  test.each([
    ['a timeout of a second', { Timeout: '1' }],
    ['a timeout of ten minutes', { Timeout: '600' }],
    ['TwiML of 4000 characters', { Twiml: twimlOf(4_000) }],
    ['the recipient that has no SMS', { To: '+15005550009' }],
    ['nothing to say', { Twiml: '<Response/>' }],
  ])('with %s is made', async (_, form) => {
    expect((await ring(sandbox, form)).status).toBe(201)
  })

  function twimlOf(length: number): string {
    const empty = '<Response><Say></Say></Response>'
    return empty.replace('<Say>', `<Say>${'a'.repeat(length - empty.length)}`)
  }
})

describe('the account', () => {
  test('is told to whoever has its token, which is no call that sends', async () => {
    const response = await fetch(sandbox.url + ACCOUNT, { headers: { authorization: basic(accountSid, authToken) } })
    expect(response.status).toBe(200)
    expectHeaders(response)
    expect(await response.json()).toMatchObject({ sid: accountSid, status: 'active' })
    expect(sandbox.calls).toEqual([])
  })

  test('uses up no fault', async () => {
    sandbox.failNext({ status: 500 })
    const headers = { authorization: basic(accountSid, authToken) }
    expect((await fetch(sandbox.url + ACCOUNT, { headers })).status).toBe(200)
    await expectError(await text(sandbox), 500, 20500)
  })

  test('is not told to others, nor another one', async () => {
    const wrong = { authorization: basic(accountSid, 'wrong') }
    await expectError(await fetch(sandbox.url + ACCOUNT, { headers: wrong }), 401, 20003)
    const right = { authorization: basic(accountSid, authToken) }
    const other = `${sandbox.url}/2010-04-01/Accounts/AC1.json`
    await expectError(await fetch(other, { headers: right }), 404, 20404)
  })
})

test("an API key may do everything but read the account, as Twilio's standard keys", async () => {
  const key = { sid: `SK${'1'.repeat(32)}`, secret: 'the-secret-of-the-key' }
  await using own = await sandboxOnFreePort({ twilio: { accountSid, authToken, apiKey: key } })
  const headers = { authorization: basic(key.sid, key.secret) }
  expect((await text(own, {}, { headers })).status).toBe(201)
  const numbers = ACCOUNT.replace('.json', '/IncomingPhoneNumbers.json')
  expect((await fetch(own.url + numbers, { headers })).status).toBe(200)
  await expectError(await fetch(own.url + ACCOUNT, { headers }), 401, 20003)
  await expectError(await fetch(sandbox.url + numbers, { headers }), 401, 20003)
})

describe('a request', () => {
  const senders = [MESSAGES, CALLS].flatMap((path) =>
    [
      ['no credentials', {}],
      ['a wrong token', { authorization: basic(accountSid, 'wrong') }],
      ['a wrong account', { authorization: basic('AC1', authToken) }],
      ['another scheme', { authorization: `Bearer ${authToken}` }],
      ['rubbish', { authorization: 'Basic §' }],
    ].map(([what, headers]) => [path.split('/').at(-1), what, path, headers] as const),
  )
  test.each(senders)('to %s with %s is refused, is not counted and uses up no fault', async (_, __, path, headers) => {
    sandbox.failNext({ status: 500 })
    const refused = await text(sandbox, {}, { path, headers: headers as Record<string, string> })
    expect(refused.headers.get('www-authenticate')).toBe('Basic realm="Twilio API"')
    await expectError(refused, 401, 20003)
    expect(sandbox.calls).toEqual([])
    await expectError(await text(sandbox, {}, { path }), 500, 20500)
  })

  test.each(['Messages', 'Calls'])("to another account's %s finds nothing", async (list) => {
    await expectError(await text(sandbox, {}, { path: `/2010-04-01/Accounts/AC1/${list}.json` }), 404, 20404)
    expect(sandbox.messages).toEqual([])
    expect(sandbox.calls).toHaveLength(1)
  })

  test('to a path that Twilio has not got finds nothing', async () => {
    await expectError(await fetch(`${sandbox.url}/2010-04-01/Accounts.json`), 404, 20404)
  })

  test.each([
    [MESSAGES, 'GET', 'POST'],
    [CALLS, 'DELETE', 'POST'],
    [ACCOUNT, 'POST', 'GET'],
  ])('to %s by %s is refused', async (path, method, allowed) => {
    const headers = { authorization: basic(accountSid, authToken) }
    const response = await fetch(sandbox.url + path, { method, headers })
    expect(response.headers.get('allow')).toBe(allowed)
    await expectError(response, 405, 20004)
    expect(sandbox.calls).toEqual([])
  })

  test('that takes its time is told how long it took', async () => {
    sandbox.failNext({ latencyMs: 60 })
    const { headers } = await text(sandbox)
    expect(Number(headers.get('twilio-request-duration'))).toBeGreaterThanOrEqual(0.055)
  })
})

test.each([
  ['a status', { status: 500 }, 500, 20500],
  ['a status of 400', { status: 400 }, 400, 20001],
  ['a status of 401', { status: 401 }, 401, 20003],
  ['a status and a code', { status: 400, code: 21614 }, 400, 21614],
  ["a status and another vendor's code", { status: 503, code: 'UNAVAILABLE' }, 503, 20503],
])('a fault of %s is told as Twilio tells it', async (_, fault, status, code) => {
  sandbox.failNext(fault, fault)
  await expectError(await text(sandbox), status, code)
  await expectError(await ring(sandbox), status, code)
  expect(sandbox.messages).toEqual([])
  expect((await text(sandbox)).status).toBe(201)
})
