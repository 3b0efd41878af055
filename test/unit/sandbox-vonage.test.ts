import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import type { Sandbox } from '../../src/sandbox/sandbox.ts'
import { apiKey, apiSecret, basic, sandboxOnFreePort, sms } from '../support/sandbox-client.ts'

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/
const GENERAL = 'https://developer.vonage.com/api-errors'
const OF_MESSAGES = 'https://developer.vonage.com/api-errors/messages'

let sandbox: Sandbox

beforeEach(async () => {
  sandbox = await sandboxOnFreePort()
})
afterEach(() => sandbox[Symbol.asyncDispose]())

async function expectProblem(response: Response, status: number, type: string): Promise<Record<string, unknown>> {
  const problem = (await response.json()) as Record<string, unknown>
  expect(problem).toMatchObject({
    type,
    title: expect.stringMatching(/./),
    detail: expect.stringMatching(/./),
    instance: expect.stringMatching(/^[0-9a-f]{32}$/),
  })
  expect(response.status).toBe(status)
  expect(response.headers.get('content-type')).toBe('application/problem+json')
  expectHeaders(response)
  return problem
}

function expectHeaders({ headers }: Response): void {
  expect(headers.get('x-request-id')).toMatch(UUID)
  expect(headers.get('twilio-request-id')).toBeNull()
}

describe('a message', () => {
  test('is accepted with its id, and kept like any SMS', async () => {
    const response = await sms(sandbox)
    expect(response.status).toBe(202)
    expect(response.headers.get('content-type')).toBe('application/json')
    expectHeaders(response)
    const answer = (await response.json()) as { message_uuid: string }
    expect(answer).toEqual({ message_uuid: expect.stringMatching(UUID) })
    expect(sandbox.messages).toEqual([
      {
        sid: answer.message_uuid,
        provider: 'vonage-sms',
        to: '+34600111222',
        from: 'Bank',
        body: 'Your code is 123456',
        status: 'submitted',
        created_at: expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/),
      },
    ])
  })

  test('is recorded with its JSON and without its credentials', async () => {
    await sms(sandbox, { ttl: 300 })
    const [call] = sandbox.calls
    expect(call).toMatchObject({ provider: 'vonage-sms', json: { to: '34600111222', ttl: 300 } })
    expect([...(call?.form ?? [])]).toEqual([])
    expect(call?.headers).toMatchObject({ 'content-type': 'application/json' })
    expect(call?.headers).not.toHaveProperty('authorization')
  })

  test.each([
    ['a sender that is a number', { from: '15005550006' }],
    ['a sender of 11 letters', { from: 'ABCDEFGHIJK' }],
    ['the shortest life', { ttl: 20 }],
    ['the longest life', { ttl: 604_800 }],
    ['the longest text', { text: 'a'.repeat(3_200) }],
    ['the longest reference', { client_ref: 'a'.repeat(100) }],
    ['an address for its status', { webhook_url: 'https://bank.test/status' }],
    ['an encoding', { sms: { encoding_type: 'unicode' } }],
    ['no encoding', { sms: {} }],
  ])('with %s is accepted', async (_, fields) => {
    expect((await sms(sandbox, fields)).status).toBe(202)
  })

  test.each([
    ['a recipient with a +', { to: '+34600111222' }, 1430],
    ['a recipient that is too short', { to: '346001' }, 1430],
    ['a recipient that is too long', { to: '3460011122233344' }, 1430],
    ['a recipient that is no text', { to: 34_600_111_222 }, 1430],
    ['no recipient', { to: undefined }, 1430],
    ['a sender with a +', { from: '+15005550006' }, 1120],
    ['a sender of 12 letters', { from: 'ABCDEFGHIJKL' }, 1120],
    ['no sender', { from: undefined }, 1120],
    ['another channel', { channel: 'mms' }, 1100],
    ['no channel', { channel: undefined }, 1100],
    ['another type', { message_type: 'image' }, 1140],
    ['a reference that is too long', { client_ref: 'a'.repeat(101) }, 1060],
  ])('with %s is refused', async (_, fields, code) => {
    await expectProblem(await sms(sandbox, fields), 422, `${OF_MESSAGES}#${code}`)
    expect(sandbox.messages).toEqual([])
    expect(sandbox.calls).toHaveLength(1)
  })

  test.each([
    ['no text', { text: undefined }, ['text']],
    ['an empty text', { text: '' }, ['text']],
    ['a text that is too long', { text: 'a'.repeat(3_201) }, ['text']],
    ['too short a life', { ttl: 19 }, ['ttl']],
    ['too long a life', { ttl: 604_801 }, ['ttl']],
    ['a life that is text', { ttl: '300' }, ['ttl']],
    ['a life that is not whole', { ttl: 30.5 }, ['ttl']],
    ['a status address that is none', { webhook_url: 'bank.test' }, ['webhook_url']],
    ['an unknown encoding', { sms: { encoding_type: 'gsm' } }, ['sms']],
    ['options that are none', { sms: 'unicode' }, ['sms']],
    ['several faults', { text: '', ttl: 0, sms: [] }, ['text', 'ttl', 'sms']],
  ])('with %s is refused with the names of what is wrong', async (_, fields, names) => {
    const { invalid_parameters } = await expectProblem(await sms(sandbox, fields), 422, `${OF_MESSAGES}#1150`)
    expect(invalid_parameters).toEqual(names.map((name) => ({ name, reason: expect.any(String) })))
    expect(sandbox.messages).toEqual([])
  })

  test.each([
    ['JSON that breaks off', { body: '{"to":' }],
    ['a list', { body: '[]' }],
    [
      'a form',
      { headers: { authorization: basic(apiKey, apiSecret) }, body: new URLSearchParams({ to: '34600111222' }) },
    ],
    ['JSON that is not said to be JSON', { headers: { authorization: basic(apiKey, apiSecret) } }],
  ])('in %s is refused', async (_, init: RequestInit) => {
    await expectProblem(await sms(sandbox, {}, init), 422, `${GENERAL}#invalid-json`)
    expect(sandbox.calls).toHaveLength(1)
  })

  test('over 64 KiB is refused before it counts as a call', async () => {
    await expectProblem(await sms(sandbox, { text: 'a'.repeat(65_536) }), 413, `${OF_MESSAGES}#1150`)
    expect(sandbox.calls).toEqual([])
  })
})

describe('the balance', () => {
  test('is told to whoever has the secret, and uses up no fault', async () => {
    sandbox.failNext({ status: 500 })
    const headers = { authorization: basic(apiKey, apiSecret) }
    const response = await fetch(`${sandbox.url}/account/get-balance`, { headers })
    expect(response.status).toBe(200)
    expectHeaders(response)
    expect(await response.json()).toEqual({ value: 10.28, autoReload: false })
    expect(sandbox.calls).toEqual([])
    expect((await sms(sandbox)).status).toBe(500)
  })

  test('is not told to others', async () => {
    const response = await fetch(`${sandbox.url}/account/get-balance`)
    await expectProblem(response, 401, `${GENERAL}#unauthorized`)
  })
})

describe('a request', () => {
  test.each([
    ['no credentials', {}],
    ['a wrong secret', { authorization: basic(apiKey, 'wrong') }],
    ['a wrong key', { authorization: basic('wrong', apiSecret) }],
    ['another scheme', { authorization: `Bearer ${apiSecret}` }],
  ])('with %s is refused, is not counted and uses up no fault', async (_, headers: Record<string, string>) => {
    sandbox.failNext({ status: 503 })
    await expectProblem(await sms(sandbox, {}, { headers }), 401, `${GENERAL}#unauthorized`)
    expect(sandbox.calls).toEqual([])
    expect((await sms(sandbox)).status).toBe(503)
  })

  test.each([
    ['/v1/messages', 'GET', 'POST'],
    ['/account/get-balance', 'POST', 'GET'],
  ])('to %s by %s is refused', async (path, method, allowed) => {
    const headers = { authorization: basic(apiKey, apiSecret) }
    const response = await fetch(sandbox.url + path, { method, headers })
    expect(response.status).toBe(405)
    expect(response.headers.get('allow')).toBe(allowed)
    expect(sandbox.calls).toEqual([])
  })

  test('to a path that Vonage has not got finds nothing', async () => {
    await expectProblem(await fetch(`${sandbox.url}/account/numbers`), 404, `${GENERAL}#not-found`)
  })
})

test.each([
  ['a status', { status: 500 }, 500, `${OF_MESSAGES}#1030`],
  ['a status of 401', { status: 401 }, 401, `${GENERAL}#unauthorized`],
  ['a status of 402', { status: 402 }, 402, `${GENERAL}#low-balance`],
  ['a status of 422', { status: 422 }, 422, `${OF_MESSAGES}#1150`],
  ['a status of 429', { status: 429 }, 429, `${OF_MESSAGES}#1000`],
  ['a status and a number', { status: 422, code: 1240 }, 422, `${OF_MESSAGES}#1240`],
  ['a status and a name', { status: 403, code: 'account-suspended' }, 403, `${GENERAL}#account-suspended`],
  ['a status and an odd name', { status: 403, code: 'constructor' }, 403, `${GENERAL}#constructor`],
])('a fault of %s is told as Vonage tells it', async (_, fault, status, type) => {
  sandbox.failNext(fault)
  await expectProblem(await sms(sandbox), status, type)
  expect(sandbox.messages).toEqual([])
  expect((await sms(sandbox)).status).toBe(202)
})

test('a fault of a body has the status of success', async () => {
  sandbox.failNext({ body: '{}' })
  const response = await sms(sandbox)
  expect([response.status, await response.text()]).toEqual([202, '{}'])
  expectHeaders(response)
})
