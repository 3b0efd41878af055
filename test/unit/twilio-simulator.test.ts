import { once } from 'node:events'
import { connect } from 'node:net'
import twilio from 'twilio'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import {
  type Fault,
  type SimulatedMessage,
  startTwilioSimulator,
  type TwilioSimulator,
} from '../../src/sandbox/twilio-simulator.ts'

const ACCOUNT = `AC${'0'.repeat(32)}`
const TOKEN = 'simulated-token'
const TO = '+34600111222'
const FROM = '+15005550006'
const PATH = `/2010-04-01/Accounts/${ACCOUNT}/Messages.json`

let simulator: TwilioSimulator

beforeEach(async () => {
  simulator = await startTwilioSimulator({ host: '127.0.0.1', port: 0, accountSid: ACCOUNT, authToken: TOKEN })
})
afterEach(() => simulator[Symbol.asyncDispose]())

function basic(user: string, password: string): string {
  return `Basic ${Buffer.from(`${user}:${password}`).toString('base64')}`
}

function post(form: Record<string, string> = {}, init: RequestInit & { path?: string } = {}): Promise<Response> {
  return fetch(simulator.url + (init.path ?? PATH), {
    method: 'POST',
    headers: { authorization: basic(ACCOUNT, TOKEN) },
    body: new URLSearchParams({ To: TO, From: FROM, Body: 'Your code is 123456', ...form }),
    redirect: 'manual',
    ...init,
  })
}

function postFaults(body: string): Promise<Response> {
  return fetch(`${simulator.url}/faults`, { method: 'POST', body })
}

async function messageOf(response: Response): Promise<Record<string, string>> {
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
  expect(response.headers.get('content-type')).toBe('application/json;charset=utf-8')
  expect(response.headers.get('twilio-request-id')).toMatch(/^RQ[0-9a-f]{32}$/)
}

/** A client of the real SDK whose requests go to the simulator. */
function sdk(token = TOKEN) {
  const httpClient = new twilio.RequestClient()
  httpClient.request = async ({ method, uri, username = '', password = '', headers, data }) => {
    const response = await fetch(uri.replace('https://api.twilio.com', simulator.url), {
      method,
      headers: { ...(headers as Record<string, string>), authorization: basic(username, password) },
      body: new URLSearchParams(data as Record<string, string>),
    })
    const body = JSON.parse(await response.text())
    return { statusCode: response.status, body, headers: Object.fromEntries(response.headers) }
  }
  return twilio(ACCOUNT, token, { httpClient })
}

describe('the real Twilio SDK', () => {
  test('sends a message and reads every field of the answer', async () => {
    const answer = await sdk().messages.createWithHttpInfo({ to: TO, from: FROM, body: 'Hi', validityPeriod: 300 })
    expect(answer.statusCode).toBe(201)
    expect(answer.headers).toMatchObject({ 'twilio-request-id': expect.stringMatching(/^RQ[0-9a-f]{32}$/) })
    expect(answer.body).toMatchObject({ to: TO, from: FROM, body: 'Hi', status: 'queued', direction: 'outbound-api' })
    expect(answer.body.dateCreated).toBeInstanceOf(Date)
    expect(Math.abs(Date.now() - answer.body.dateCreated.getTime())).toBeLessThan(5_000)
    expect(answer.body.sid).toBe(simulator.messages[0]?.sid)
    expect(simulator.calls[0]?.form.get('ValidityPeriod')).toBe('300')
  })

  test('is told of a refusal by its code', async () => {
    const sending = sdk().messages.create({ to: '+15005550004', from: FROM, body: 'Hi' })
    await expect(sending).rejects.toMatchObject({ status: 400, code: 21610 })
  })

  test('is told of a wrong token', async () => {
    const sending = sdk('wrong').messages.create({ to: TO, from: FROM, body: 'Hi' })
    await expect(sending).rejects.toMatchObject({ status: 401, code: 20003 })
  })
})

describe('a message', () => {
  test('is answered with the whole resource and the headers of Twilio', async () => {
    const response = await post()
    const message = await messageOf(response)
    const uri = `/2010-04-01/Accounts/${ACCOUNT}/Messages/${message.sid}`
    expect(response.status).toBe(201)
    expect(response.headers.get('content-type')).toBe('application/json;charset=utf-8')
    expect(response.headers.get('twilio-request-id')).toMatch(/^RQ[0-9a-f]{32}$/)
    expect(response.headers.get('twilio-concurrent-requests')).toBe('1')
    expect(response.headers.get('twilio-request-duration')).toMatch(/^\d+\.\d{3}$/)
    expect(message).toEqual({
      account_sid: ACCOUNT,
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

  test('through a messaging service has no sender and no segments yet', async () => {
    const service = `MG${'1'.repeat(32)}`
    const body = new URLSearchParams({ To: TO, MessagingServiceSid: service, Body: 'Hi' })
    const expected = { from: null, messaging_service_sid: service, num_segments: '0', status: 'accepted' }
    expect(await (await post({}, { body })).json()).toMatchObject(expected)
    expect(simulator.messages[0]?.from).toBe(service)
  })

  test.each([
    ['160 GSM-7 characters', 'a'.repeat(160), '1'],
    ['161 GSM-7 characters', 'a'.repeat(161), '2'],
    ['a euro sign that takes two places', `${'a'.repeat(159)}€`, '2'],
    ['70 characters with one outside GSM-7', `${'a'.repeat(69)}ł`, '1'],
    ['71 characters with one outside GSM-7', `${'a'.repeat(70)}ł`, '2'],
    ['1600 characters', 'a'.repeat(1_600), '11'],
  ])('of %s counts its segments', async (_, Body, segments) => {
    expect((await messageOf(await post({ Body }))).num_segments).toBe(segments)
  })

  test.each([
    ['no recipient', { To: '' }, 400, 21604],
    ['no sender', { From: '' }, 400, 21603],
    ['no body', { Body: '' }, 400, 21602],
    ['a recipient that is not E.164', { To: '600111222' }, 400, 21211],
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
    const response = await post(form)
    expect(response.headers.get('x-twilio-error-code')).toBe(String(code))
    await expectError(response, status, code)
    expect(simulator.messages).toEqual([])
    expect(simulator.calls).toHaveLength(1)
  })

  test.each(['1', '36000'])('with a validity period of %s s is taken', async (ValidityPeriod) => {
    expect((await post({ ValidityPeriod })).status).toBe(201)
  })

  test('in a body that is no form is refused like an empty one', async () => {
    await expectError(await post({}, { body: '%E0%A4%A&&=&To' }), 400, 21604)
    await expectError(await post({}, { body: new URLSearchParams() }), 400, 21604)
  })

  test('in a malformed form is refused for what can be read of it', async () => {
    const headers = {
      authorization: basic(ACCOUNT, TOKEN),
      'content-type': 'application/x-www-form-urlencoded',
    }
    await expectError(await post({}, { headers, body: '%E0%A4%A&&=&To=%ZZ&From=x&Body=%00' }), 400, 21211)
  })

  test('from a name rather than a number is taken', async () => {
    expect((await messageOf(await post({ From: 'constructor' }))).from).toBe('constructor')
  })

  test('over 64 KiB is refused before it counts as a call', async () => {
    await expectError(await post({ Body: 'a'.repeat(65_536) }), 413, 20413)
    expect(simulator.calls).toEqual([])
  })
})

describe('a call', () => {
  test.each([
    ['no credentials', {}],
    ['a wrong token', { authorization: basic(ACCOUNT, 'wrong') }],
    ['a wrong account', { authorization: basic('AC1', TOKEN) }],
    ['another scheme', { authorization: `Bearer ${TOKEN}` }],
    ['rubbish', { authorization: 'Basic §' }],
  ])('with %s is refused, is not counted and uses up no fault', async (_, headers: Record<string, string>) => {
    simulator.failNext({ status: 500 })
    await expectError(await post({}, { headers }), 401, 20003)
    expect(simulator.calls).toEqual([])
    await expectError(await post(), 500, 20500)
  })

  test("to another account's path finds nothing", async () => {
    await expectError(await post({}, { path: '/2010-04-01/Accounts/AC1/Messages.json' }), 404, 20404)
    expect(simulator.messages).toEqual([])
    expect(simulator.calls).toHaveLength(1)
  })

  test('is recorded with its form and headers, without its credentials', async () => {
    const before = performance.now()
    await post()
    const [call] = simulator.calls
    expect(call?.atMs).toBeGreaterThan(before)
    expect(call?.atMs).toBeLessThan(performance.now())
    expect(Object.fromEntries(call?.form ?? [])).toEqual({ To: TO, From: FROM, Body: 'Your code is 123456' })
    expect(call?.headers).toMatchObject({ host: `127.0.0.1:${simulator.port}` })
    expect(call?.headers).not.toHaveProperty('authorization')
  })

  test('can be waited for, even when it is never answered', async () => {
    simulator.failNext({ hang: true })
    const next = simulator.nextCall()
    const gone = new AbortController()
    const answer = post({ Body: 'second' }, { signal: gone.signal })
    expect((await next).form.get('Body')).toBe('second')
    gone.abort()
    await expect(answer).rejects.toThrow('aborted')
  })

  test('of the past is not waited for', async () => {
    await post({ Body: 'first' })
    const next = simulator.nextCall()
    await post({ Body: 'second' })
    expect((await next).form.get('Body')).toBe('second')
  })

  test.each([
    ['/messages', 'POST', 405, 20004],
    ['/faults', 'GET', 405, 20004],
    ['/2010-04-01/Accounts.json', 'GET', 404, 20404],
    ['/', 'GET', 404, 20404],
  ])('to %s by %s is refused', async (path, method, status, code) => {
    await expectError(await fetch(simulator.url + path, { method }), status, code)
  })

  test('to the Messages API by another method is refused', async () => {
    const headers = { authorization: basic(ACCOUNT, TOKEN) }
    const response = await fetch(simulator.url + PATH, { headers })
    expect(response.headers.get('allow')).toBe('POST')
    await expectError(response, 405, 20004)
  })
})

describe('the list of messages', () => {
  test('has the newest first, with what people look for', async () => {
    await post({ Body: 'first' })
    await post({ Body: 'refused', To: '+15005550001' })
    const { sid } = await messageOf(await post({ Body: 'second' }))
    const listed = (await (await fetch(`${simulator.url}/messages`)).json()) as SimulatedMessage[]
    expect(listed).toEqual(simulator.messages)
    expect(listed.map(({ body }) => body)).toEqual(['second', 'first'])
    expect(listed[0]).toEqual({
      sid,
      to: TO,
      from: FROM,
      body: 'second',
      status: 'queued',
      created_at: expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/),
    })
  })

  test('is emptied together with the calls; pending faults stay', async () => {
    await post()
    simulator.failNext({ status: 503 })
    expect((await fetch(`${simulator.url}/messages`, { method: 'DELETE' })).status).toBe(204)
    expect(await (await fetch(`${simulator.url}/messages`)).json()).toEqual([])
    expect(simulator.calls).toEqual([])
    expect((await post()).status).toBe(503)
  })

  test('keeps the newest thousand', async () => {
    for (let batch = 0; batch < 20; batch++) await Promise.all(Array.from({ length: 50 }, () => post()))
    await post({ Body: 'last' })
    expect(simulator.messages).toHaveLength(1_000)
    expect(simulator.messages[0]?.body).toBe('last')
    expect(simulator.calls).toHaveLength(1_000)
    expect(simulator.calls.at(-1)?.form.get('Body')).toBe('last')
  })
})

test('clearing forgets messages, calls and pending faults', async () => {
  await post()
  simulator.failNext({ status: 500 })
  simulator.clear()
  expect([simulator.messages, simulator.calls]).toEqual([[], []])
  expect((await post()).status).toBe(201)
})

describe('a fault', () => {
  test.each<[string, Fault, number, number]>([
    ['a status', { status: 500 }, 500, 20500],
    ['a status of 400', { status: 400 }, 400, 20001],
    ['a status of 401', { status: 401 }, 401, 20003],
    ['a status and a code', { status: 400, code: 21614 }, 400, 21614],
  ])('of %s fails one call with it', async (_, fault, status, code) => {
    simulator.failNext(fault)
    await expectError(await post(), status, code)
    expect(simulator.messages).toEqual([])
    expect((await post()).status).toBe(201)
    expect(simulator.calls).toHaveLength(2)
  })

  test('of 429 says how long to wait', async () => {
    simulator.failNext({ status: 429, retryAfterSeconds: 2 })
    const response = await post()
    expect(response.headers.get('retry-after')).toBe('2')
    await expectError(response, 429, 20429)
  })

  test('comes before the form is looked at', async () => {
    simulator.failNext({ status: 503 })
    await expectError(await post({ To: '' }), 503, 20503)
  })

  test('of reset cuts the connection after the request was read', async () => {
    simulator.failNext({ reset: true })
    const socket = connect(simulator.port, '127.0.0.1')
    const failed = once(socket, 'error').catch((error: unknown) => [error])
    const body = 'Body=x'
    const authorization = basic(ACCOUNT, TOKEN)
    socket.write(`POST ${PATH} HTTP/1.1\r\nHost: x\r\nAuthorization: ${authorization}\r\n`)
    socket.write(`Content-Type: application/x-www-form-urlencoded\r\nContent-Length: ${body.length}\r\n\r\n${body}`)
    expect((await failed)[0]).toMatchObject({ code: 'ECONNRESET' })
    expect(simulator.calls[0]?.form.get('Body')).toBe('x')
  })

  test('of a body answers it as it is', async () => {
    simulator.failNext({ body: 'not json', status: 201 }, { body: '{}' }, { body: '<html>', status: 502 })
    const [first, second, third] = [await post(), await post(), await post()]
    expect([first.status, await first.text()]).toEqual([201, 'not json'])
    expect([second.status, await second.text()]).toEqual([201, '{}'])
    expect([third.status, await third.text()]).toEqual([502, '<html>'])
    expect(simulator.messages).toEqual([])
  })

  test('of redirect points elsewhere', async () => {
    simulator.failNext({ redirect: 'http://127.0.0.1:1/elsewhere' })
    const response = await post()
    expect(response.status).toBe(307)
    expect(response.headers.get('location')).toBe('http://127.0.0.1:1/elsewhere')
  })

  test('of drip starts a 201 whose body never ends', async () => {
    simulator.failNext({ drip: true })
    const gone = new AbortController()
    const response = await post({}, { signal: gone.signal })
    expect(response.status).toBe(201)
    const reader = response.body?.getReader()
    expect((await reader?.read())?.value).toHaveLength(1)
    expect((await reader?.read())?.value).toHaveLength(1)
    gone.abort()
    expect((await post()).status).toBe(201)
  })

  test('of latency alone is a normal answer, later', async () => {
    simulator.failNext({ latencyMs: 60 })
    const startedMs = performance.now()
    const response = await post()
    expect(performance.now() - startedMs).toBeGreaterThanOrEqual(55)
    expect(Number(response.headers.get('twilio-request-duration'))).toBeGreaterThanOrEqual(0.055)
    expect(response.status).toBe(201)
    expect(simulator.messages).toHaveLength(1)
  })

  test('of another kind waits for its latency first', async () => {
    simulator.failNext({ latencyMs: 60, status: 500 })
    const startedMs = performance.now()
    await expectError(await post(), 500, 20500)
    expect(performance.now() - startedMs).toBeGreaterThanOrEqual(55)
  })

  test('may have sent the message all the same', async () => {
    simulator.failNext({ status: 500, sent: true }, { latencyMs: 1, sent: true }, { status: 500, sent: true })
    expect((await post({ Body: 'first' })).status).toBe(500)
    expect(simulator.messages.map(({ body }) => body)).toEqual(['first'])
    expect((await messageOf(await post({ Body: 'second' }))).sid).toBe(simulator.messages[0]?.sid)
    expect((await post({ To: '+15005550009' })).status).toBe(500)
    expect(simulator.messages.map(({ body }) => body)).toEqual(['second', 'first'])
  })

  test('of hang that sent the message shows it at once', async () => {
    simulator.failNext({ hang: true, sent: true })
    const next = simulator.nextCall()
    const gone = new AbortController()
    const answer = post({}, { signal: gone.signal })
    await next
    expect(simulator.messages).toHaveLength(1)
    gone.abort()
    await expect(answer).rejects.toThrow('aborted')
  })
})

describe('faults over HTTP', () => {
  test('fail the next calls in order', async () => {
    const next = [{ status: 500 }, { status: 429, retryAfterSeconds: 2 }, { body: 'not json', status: 201 }]
    expect((await postFaults(JSON.stringify({ next }))).status).toBe(204)
    expect((await postFaults('{"next":[{"latencyMs":1},{"status":503,"sent":true}]}')).status).toBe(204)
    const statuses: number[] = []
    for (let call = 0; call < 6; call++) statuses.push((await post()).status)
    expect(statuses).toEqual([500, 429, 201, 201, 503, 201])
    expect(simulator.messages).toHaveLength(3)
  })

  test('take every kind', async () => {
    const kinds = [{ hang: true }, { reset: true }, { drip: true }, { redirect: 'https://x.test/' }, { latencyMs: 800 }]
    expect((await postFaults(JSON.stringify({ next: kinds }))).status).toBe(204)
  })

  test('can be taken back', async () => {
    simulator.failNext({ status: 500 })
    expect((await fetch(`${simulator.url}/faults`, { method: 'DELETE' })).status).toBe(204)
    expect((await post()).status).toBe(201)
  })

  test('that are malformed are refused with every problem, and none is applied', async () => {
    const response = await postFaults(
      JSON.stringify({
        next: [
          { status: 500 },
          { status: 99 },
          { status: 201 },
          { hang: 'yes', oops: 1 },
          { hang: true, reset: true },
          { body: 'x', status: 201, code: 1 },
          { latencyMs: -1 },
          { redirect: 'ftp://x\n' },
          { sent: true },
          7,
        ],
        more: true,
      }),
    )
    expect(response.status).toBe(400)
    expect(await response.json()).toEqual({
      problems: [
        'more is not known',
        'next[1].status must be a whole number from 400 to 599, or from 200 beside a body',
        'next[2].status below 400 needs a body',
        'next[3].oops is not known',
        'next[3].hang must be true',
        'next[4] must be one of hang, reset, not all',
        'next[5].code needs a status and no body',
        'next[6].latencyMs must be a whole number from 0 to 3600000',
        'next[7].redirect must be an http or https address',
        'next[8] must have status, body, redirect, hang, reset, drip or latencyMs',
        'next[9] must be an object',
      ],
    })
    expect((await post()).status).toBe(201)
  })

  test.each([
    ['not json', 'the body must be JSON'],
    ['[]', 'the body must be an object'],
    ['{}', 'next must be a list of faults'],
    ['{"next":{}}', 'next must be a list of faults'],
  ])('of %s are refused', async (body, problem) => {
    const response = await postFaults(body)
    expect(response.status).toBe(400)
    expect(await response.json()).toEqual({ problems: [problem] })
  })
})

describe('stopping', () => {
  test('cuts calls that hang, wait or drip, and a wait for the next call', async () => {
    simulator.failNext({ hang: true }, { latencyMs: 3_600_000 }, { drip: true })
    const answers: Promise<unknown>[] = []
    for (let call = 0; call < 3; call++) {
      const next = simulator.nextCall()
      answers.push(post().then((response) => response.text()))
      await next
    }
    const next = simulator.nextCall()
    const settled = Promise.allSettled([...answers, next])
    await simulator[Symbol.asyncDispose]()
    expect((await settled).map(({ status }) => status)).toEqual(Array(4).fill('rejected'))
    await expect(next).rejects.toThrow('stopped')
  })

  test('frees the port and may be done twice', async () => {
    const { port } = simulator
    await simulator[Symbol.asyncDispose]()
    await simulator[Symbol.asyncDispose]()
    simulator = await startTwilioSimulator({ host: '127.0.0.1', port, accountSid: ACCOUNT, authToken: TOKEN })
    expect((await post()).status).toBe(201)
  })

  test('is not needed when the port is taken: starting fails', async () => {
    const config = { host: '127.0.0.1', port: simulator.port, accountSid: ACCOUNT, authToken: TOKEN }
    await expect(startTwilioSimulator(config)).rejects.toMatchObject({ code: 'EADDRINUSE' })
  })
})
