import { createPublicKey, createSign, createVerify } from 'node:crypto'
import { once } from 'node:events'
import { connect } from 'node:net'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { type Sandbox, type SimulatedMessage, startSandbox } from '../../src/sandbox/sandbox.ts'
import { createSandboxAccounts } from '../../src/sandbox/sandbox-accounts.ts'
import {
  accessToken,
  accountSid,
  accounts,
  authToken,
  basic,
  FROM,
  grant,
  push,
  ring,
  sandboxOnFreePort,
  sms,
  TO,
  text,
} from '../support/sandbox-client.ts'

let sandbox: Sandbox

beforeEach(async () => {
  sandbox = await sandboxOnFreePort()
})
afterEach(() => sandbox[Symbol.asyncDispose]())

function postFaults(body: string): Promise<Response> {
  return fetch(`${sandbox.url}/faults`, { method: 'POST', body })
}

describe('a call', () => {
  test('is recorded with its form and headers, without its credentials', async () => {
    const before = performance.now()
    await text(sandbox)
    const [call] = sandbox.calls
    expect(call?.atMs).toBeGreaterThan(before)
    expect(call?.atMs).toBeLessThan(performance.now())
    expect(Object.fromEntries(call?.form ?? [])).toEqual({ To: TO, From: FROM, Body: 'Your code is 123456' })
    expect(call).toMatchObject({ provider: 'twilio-sms', headers: { host: `127.0.0.1:${sandbox.port}` } })
    expect(call?.json).toBeUndefined()
    expect(call?.headers).not.toHaveProperty('authorization')
  })

  test('can be waited for, even when it is never answered', async () => {
    sandbox.failNext({ hang: true })
    const next = sandbox.nextCall()
    const gone = new AbortController()
    const answer = text(sandbox, { Body: 'second' }, { signal: gone.signal })
    expect((await next).form.get('Body')).toBe('second')
    gone.abort()
    await expect(answer).rejects.toThrow('aborted')
  })

  test('of the past is not waited for', async () => {
    await text(sandbox, { Body: 'first' })
    const next = sandbox.nextCall()
    await text(sandbox, { Body: 'second' })
    expect((await next).form.get('Body')).toBe('second')
  })

  test.each([
    ['/messages', 'POST', 405, 'GET, DELETE'],
    ['/faults', 'GET', 405, 'POST, DELETE'],
    ['/', 'POST', 405, 'GET, HEAD'],
    ['/nothing', 'GET', 404, null],
    ['/v1/messagesx', 'GET', 404, null],
  ])("to %s by %s is refused, in no vendor's form", async (path, method, status, allowed) => {
    const response = await fetch(sandbox.url + path, { method })
    expect(response.status).toBe(status)
    expect(response.headers.get('allow')).toBe(allowed)
    expect(response.headers.get('twilio-request-id')).toBeNull()
    expect(await response.json()).toEqual({ problems: [expect.stringContaining(path)] })
  })
})

describe('the list of messages', () => {
  test('has those of every provider, the newest first, with what people look for', async () => {
    const token = await accessToken(sandbox)
    await text(sandbox)
    await text(sandbox, { To: '+15005550001' })
    await ring(sandbox)
    await sms(sandbox)
    await push(sandbox, token)
    const response = await fetch(`${sandbox.url}/messages`)
    expect(response.headers.get('twilio-request-id')).toBeNull()
    const listed = (await response.json()) as SimulatedMessage[]
    expect(listed).toEqual(sandbox.messages)
    expect(listed.map(({ provider, to }) => [provider, to])).toEqual([
      ['fcm-push', 'device-1'],
      ['vonage-sms', TO],
      ['twilio-voice', TO],
      ['twilio-sms', TO],
    ])
    expect(new Set(listed.flatMap(Object.keys))).toEqual(
      new Set(['sid', 'provider', 'to', 'from', 'body', 'status', 'created_at']),
    )
    expect(listed.every(({ created_at }) => new Date(created_at).toISOString() === created_at)).toBe(true)
    expect(sandbox.calls.map(({ provider }) => provider)).toEqual([
      'twilio-sms',
      'twilio-sms',
      'twilio-voice',
      'vonage-sms',
      'fcm-push',
    ])
  })

  test('is emptied together with the calls; pending faults stay', async () => {
    await text(sandbox)
    sandbox.failNext({ status: 503 })
    expect((await fetch(`${sandbox.url}/messages`, { method: 'DELETE' })).status).toBe(204)
    expect(await (await fetch(`${sandbox.url}/messages`)).json()).toEqual([])
    expect(sandbox.calls).toEqual([])
    expect((await text(sandbox)).status).toBe(503)
  })

  test('keeps the newest thousand', async () => {
    for (let batch = 0; batch < 20; batch++) await Promise.all(Array.from({ length: 50 }, () => text(sandbox)))
    await sms(sandbox, { text: 'last' })
    expect(sandbox.messages).toHaveLength(1_000)
    expect(sandbox.messages[0]?.body).toBe('last')
    expect(sandbox.calls).toHaveLength(1_000)
    expect(sandbox.calls.at(-1)?.provider).toBe('vonage-sms')
  })
})

test('clearing forgets messages, calls and pending faults', async () => {
  await text(sandbox)
  sandbox.failNext({ status: 500 })
  sandbox.clear()
  expect([sandbox.messages, sandbox.calls]).toEqual([[], []])
  expect((await text(sandbox)).status).toBe(201)
})

describe('a fault', () => {
  test('fails one call, whoever makes it', async () => {
    const token = await accessToken(sandbox)
    sandbox.failNext({ status: 500 }, { status: 501 }, { status: 502 }, { status: 503 })
    expect((await push(sandbox, token)).status).toBe(500)
    expect((await sms(sandbox)).status).toBe(501)
    expect((await ring(sandbox)).status).toBe(502)
    expect((await text(sandbox)).status).toBe(503)
    expect(sandbox.messages).toEqual([])
    expect((await sms(sandbox)).status).toBe(202)
    expect(sandbox.calls).toHaveLength(5)
  })

  test('for one provider waits for it, and the first that fits a call is taken', async () => {
    const token = await accessToken(sandbox)
    sandbox.failNext(
      { provider: 'vonage-sms', status: 500 },
      { provider: 'twilio-voice', status: 501 },
      { status: 502 },
      { provider: 'fcm-push', status: 503 },
      { provider: 'twilio-sms', status: 504 },
      { provider: 'vonage-sms', status: 505 },
    )
    expect((await text(sandbox)).status).toBe(502)
    expect((await text(sandbox)).status).toBe(504)
    expect((await text(sandbox)).status).toBe(201)
    expect((await sms(sandbox)).status).toBe(500)
    expect((await push(sandbox, token)).status).toBe(503)
    expect((await ring(sandbox)).status).toBe(501)
    expect((await sms(sandbox)).status).toBe(505)
    expect((await sms(sandbox)).status).toBe(202)
  })

  test('for one number waits for a call to it, of whichever vendor', async () => {
    sandbox.failNext({ to: '+34600111333', status: 500 }, { to: '+34600111333', status: 503 })
    expect((await text(sandbox)).status).toBe(201)
    expect((await sms(sandbox)).status).toBe(202)
    expect((await text(sandbox, { To: '+34600111333' })).status).toBe(500)
    expect((await sms(sandbox, { to: '34600111333' })).status).toBe(503)
  })

  test('of 429 says how long to wait', async () => {
    sandbox.failNext({ status: 429, retryAfterSeconds: 2 }, { status: 429, retryAfterSeconds: 3 })
    expect((await text(sandbox)).headers.get('retry-after')).toBe('2')
    expect((await sms(sandbox)).headers.get('retry-after')).toBe('3')
  })

  test('comes before the call is looked at', async () => {
    sandbox.failNext({ status: 503 })
    expect((await text(sandbox, { To: '' })).status).toBe(503)
  })

  test('of reset cuts the connection after the request was read', async () => {
    sandbox.failNext({ reset: true })
    const socket = connect(sandbox.port, '127.0.0.1')
    const failed = once(socket, 'error').catch((error: unknown) => [error])
    const body = 'Body=x'
    socket.write(`POST /2010-04-01/Accounts/${accountSid}/Messages.json HTTP/1.1\r\nHost: x\r\n`)
    socket.write(`Authorization: ${basic(accountSid, authToken)}\r\n`)
    socket.write(`Content-Type: application/x-www-form-urlencoded\r\nContent-Length: ${body.length}\r\n\r\n${body}`)
    expect((await failed)[0]).toMatchObject({ code: 'ECONNRESET' })
    expect(sandbox.calls[0]?.form.get('Body')).toBe('x')
  })

  test('of a body answers it as it is', async () => {
    sandbox.failNext({ body: 'not json', status: 200 }, { body: '{}' }, { body: '<html>', status: 502 })
    const [first, second, third] = [await text(sandbox), await text(sandbox), await text(sandbox)]
    expect([first.status, await first.text()]).toEqual([200, 'not json'])
    expect([second.status, await second.text()]).toEqual([201, '{}'])
    expect([third.status, await third.text()]).toEqual([502, '<html>'])
    expect(sandbox.messages).toEqual([])
  })

  test('of redirect points elsewhere', async () => {
    sandbox.failNext({ redirect: 'http://127.0.0.1:1/elsewhere' })
    const response = await text(sandbox)
    expect(response.status).toBe(307)
    expect(response.headers.get('location')).toBe('http://127.0.0.1:1/elsewhere')
  })

  test('of drip starts a success whose body never ends', async () => {
    const token = await accessToken(sandbox)
    const sends = [text, sms, (...[at, , init]: Parameters<typeof text>) => push(at, token, {}, init)]
    for (const [index, status] of [201, 202, 200].entries()) {
      sandbox.failNext({ drip: true })
      const gone = new AbortController()
      const response = await (sends[index] ?? text)(sandbox, {}, { signal: gone.signal })
      expect(response.status).toBe(status)
      const reader = response.body?.getReader()
      expect((await reader?.read())?.value).toHaveLength(1)
      expect((await reader?.read())?.value).toHaveLength(1)
      gone.abort()
    }
    expect((await text(sandbox)).status).toBe(201)
  })

  test('of latency alone is a normal answer, later', async () => {
    sandbox.failNext({ latencyMs: 60 })
    const startedMs = performance.now()
    const response = await text(sandbox)
    expect(performance.now() - startedMs).toBeGreaterThanOrEqual(55)
    expect(response.status).toBe(201)
    expect(sandbox.messages).toHaveLength(1)
  })

  test('of another kind waits for its latency first', async () => {
    sandbox.failNext({ latencyMs: 60, status: 500 })
    const startedMs = performance.now()
    expect((await text(sandbox)).status).toBe(500)
    expect(performance.now() - startedMs).toBeGreaterThanOrEqual(55)
  })

  test('may have sent the message all the same', async () => {
    sandbox.failNext({ status: 500, sent: true }, { latencyMs: 1, sent: true }, { status: 500, sent: true })
    expect((await text(sandbox, { Body: 'first' })).status).toBe(500)
    expect(sandbox.messages.map(({ body }) => body)).toEqual(['first'])
    const { sid } = (await (await text(sandbox, { Body: 'second' })).json()) as { sid: string }
    expect(sid).toBe(sandbox.messages[0]?.sid)
    expect((await text(sandbox, { To: '+15005550009' })).status).toBe(500)
    expect(sandbox.messages.map(({ body }) => body)).toEqual(['second', 'first'])
  })

  test('of hang that sent the message shows it at once', async () => {
    sandbox.failNext({ hang: true, sent: true })
    const next = sandbox.nextCall()
    const gone = new AbortController()
    const answer = sms(sandbox, {}, { signal: gone.signal })
    await next
    expect(sandbox.messages).toHaveLength(1)
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
    for (let call = 0; call < 6; call++) statuses.push((await text(sandbox)).status)
    expect(statuses).toEqual([500, 429, 201, 201, 503, 201])
    expect(sandbox.messages).toHaveLength(3)
  })

  test('may be for one provider, or for the access token', async () => {
    const next = [
      { provider: 'vonage-sms', status: 422, code: 1240 },
      { provider: 'fcm-token', status: 503, code: 'unavailable' },
    ]
    expect((await postFaults(JSON.stringify({ next }))).status).toBe(204)
    expect((await text(sandbox)).status).toBe(201)
    expect((await grant(sandbox)).status).toBe(503)
    expect((await sms(sandbox)).status).toBe(422)
  })

  test('take every kind', async () => {
    const kinds = [{ hang: true }, { reset: true }, { drip: true }, { redirect: 'https://x.test/' }, { latencyMs: 800 }]
    expect((await postFaults(JSON.stringify({ next: kinds }))).status).toBe(204)
  })

  test('can be taken back', async () => {
    sandbox.failNext({ status: 500 })
    expect((await fetch(`${sandbox.url}/faults`, { method: 'DELETE' })).status).toBe(204)
    expect((await text(sandbox)).status).toBe(201)
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
          { provider: 'pigeon', status: 500 },
          { status: 500, code: 'no such code' },
          { status: 500, code: 0 },
          { status: 500, to: 'somebody' },
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
        'next[8] must have status, body, redirect, hang, reset, drip, latencyMs or receipts',
        'next[9] must be an object',
        'next[10].provider must be one of twilio-sms, twilio-voice, vonage-sms, fcm-push, fcm-token',
        'next[11].code must be a whole number from 1 to 99999 or a name such as UNAVAILABLE',
        'next[12].code must be a whole number from 1 to 99999 or a name such as UNAVAILABLE',
        'next[13].to must be a phone number in E.164',
      ],
    })
    expect((await text(sandbox)).status).toBe(201)
  })

  test.each([
    ['not json', 'the body must be JSON'],
    ['[]', 'the body must be an object'],
    ['null', 'the body must be an object'],
    ['{}', 'next must be a list of faults'],
    ['{"next":{}}', 'next must be a list of faults'],
  ])('of %s are refused', async (body, problem) => {
    const response = await postFaults(body)
    expect(response.status).toBe(400)
    expect(await response.json()).toEqual({ problems: [problem] })
  })

  test('over 64 KiB are refused', async () => {
    const response = await postFaults(JSON.stringify({ next: [], more: 'a'.repeat(65_536) }))
    expect(response.status).toBe(413)
    expect(await response.json()).toEqual({ problems: ['the body is over 64 KiB'] })
  })
})

describe('stopping', () => {
  test('cuts calls that hang, wait or drip, and a wait for the next call', async () => {
    sandbox.failNext({ hang: true }, { latencyMs: 3_600_000 }, { drip: true })
    const answers: Promise<unknown>[] = []
    for (const send of [text, sms, ring]) {
      const next = sandbox.nextCall()
      answers.push(send(sandbox).then((response) => response.text()))
      await next
    }
    const next = sandbox.nextCall()
    const settled = Promise.allSettled([...answers, next])
    await sandbox[Symbol.asyncDispose]()
    expect((await settled).map(({ status }) => status)).toEqual(Array(4).fill('rejected'))
    await expect(next).rejects.toThrow('stopped')
  })

  test('frees the port and may be done twice', async () => {
    const { port } = sandbox
    await sandbox[Symbol.asyncDispose]()
    await sandbox[Symbol.asyncDispose]()
    sandbox = await startSandbox({ host: '127.0.0.1', port, ...accounts })
    expect((await text(sandbox)).status).toBe(201)
  })

  test('is not needed when the port is taken: starting fails', async () => {
    const starting = startSandbox({ host: '127.0.0.1', port: sandbox.port, ...accounts })
    await expect(starting).rejects.toMatchObject({ code: 'EADDRINUSE' })
  })
})

test('a sandbox does not start with a key that it cannot read', async () => {
  const fcm = { ...accounts.fcm, publicKey: 'rubbish' }
  await expect(startSandbox({ host: '127.0.0.1', port: 0, ...accounts, fcm })).rejects.toThrow()
})

test('accounts are made up anew, in the form that each vendor has, with a key pair that fits', async () => {
  const { twilio, vonage, fcm } = await createSandboxAccounts()
  expect(twilio).toEqual({
    accountSid: expect.stringMatching(/^AC[0-9a-f]{32}$/),
    authToken: expect.stringMatching(/^[0-9a-f]{32}$/),
    fromNumber: '+15005550006',
  })
  expect(vonage).toEqual({
    apiKey: expect.stringMatching(/^[0-9a-f]{8}$/),
    apiSecret: expect.stringMatching(/^[0-9a-f]{16}$/),
    signatureSecret: expect.stringMatching(/^[0-9a-f]{64}$/),
    from: 'Bank',
  })
  expect(fcm.projectId).toMatch(/^[a-z][a-z0-9-]{5,29}$/)
  expect(fcm.clientEmail).toBe(`signature-router@${fcm.projectId}.iam.gserviceaccount.com`)
  expect(createPublicKey(fcm.publicKey).asymmetricKeyDetails?.modulusLength).toBe(2_048)
  const signature = createSign('sha256').update('x').sign(fcm.privateKey)
  expect(createVerify('sha256').update('x').verify(fcm.publicKey, signature)).toBe(true)
  expect([twilio, vonage, fcm]).not.toEqual([accounts.twilio, accounts.vonage, accounts.fcm])
  expect(twilio.authToken).not.toBe(accounts.twilio.authToken)
})
