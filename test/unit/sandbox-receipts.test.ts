import { createHash } from 'node:crypto'
import { errors, type JWTPayload, jwtVerify } from 'jose'
import twilio from 'twilio'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { type Sandbox, type SandboxConfig, type SimulatedReceipt, startSandbox } from '../../src/sandbox/sandbox.ts'
import { type Received, type Receiver, startReceiver } from '../support/receiver.ts'
import {
  accessToken,
  accountSid,
  accounts,
  apiKey,
  authToken,
  FROM,
  push,
  ring,
  sandboxOnFreePort,
  signatureSecret,
  sms,
  TO,
  TWIML,
  text,
} from '../support/sandbox-client.ts'

const PATH = '/hook/a%20b?attempt=7&sig=x%2By'
const ALL_EVENTS = ['initiated', 'ringing', 'answered', 'completed']

let sandbox: Sandbox
let receiver: Receiver
/** With a query. */
let url: string

beforeEach(async () => {
  sandbox = await sandboxOnFreePort({ receipts: 'delivered' })
  receiver = await startReceiver()
  url = receiver.url + PATH
})
afterEach(async () => {
  await sandbox[Symbol.asyncDispose]()
  await receiver[Symbol.asyncDispose]()
})

async function restart(config: Partial<SandboxConfig>): Promise<void> {
  await sandbox[Symbol.asyncDispose]()
  sandbox = await sandboxOnFreePort({ receipts: 'delivered', ...config })
}

/** Once so many have been answered or given up. */
async function receipts(total: number): Promise<readonly SimulatedReceipt[]> {
  while (sandbox.receipts.length < total) await sandbox.nextReceipt()
  return sandbox.receipts
}

/** Every status that messages have from now on, until one has the last. */
function statusesUntil(last: string): Promise<string[]> {
  const seen: string[] = []
  return new Promise((resolve) => {
    const leave = sandbox.onMessage(({ status }) => {
      seen.push(status)
      if (status !== last) return
      leave()
      resolve(seen)
    })
  })
}

/** Resolves once so many messages have been delivered. */
function deliveries(total: number): Promise<void> {
  let left = total
  return new Promise((resolve) => {
    const leave = sandbox.onMessage(({ status }) => {
      if (status !== 'delivered' || --left > 0) return
      leave()
      resolve()
    })
  })
}

function form(post: Received | undefined): Record<string, string> {
  return Object.fromEntries(new URLSearchParams(post?.body))
}

function json(post: Received | undefined): Record<string, unknown> {
  return JSON.parse(post?.body ?? '')
}

function told(list: readonly Received[], name: 'MessageStatus' | 'CallStatus' | 'status'): unknown[] {
  return list.map((post) => (name === 'status' ? json(post) : form(post))[name])
}

function isTwilios(post: Received | undefined, { at = post?.url ?? '', token = authToken, more = {} } = {}): boolean {
  const signature = String(post?.headers['x-twilio-signature'])
  return twilio.validateRequest(token, signature, at, { ...form(post), ...more })
}

async function sidOf(response: Response): Promise<string> {
  const { sid, message_uuid } = (await response.json()) as Record<string, string>
  return sid ?? message_uuid ?? ''
}

function ringFor(events: string[]): Promise<Response> {
  const body = new URLSearchParams({ To: TO, From: FROM, Twiml: TWIML, StatusCallback: url })
  for (const event of events) body.append('StatusCallbackEvent', event)
  return ring(sandbox, {}, { body })
}

function claimsOf(post: Received | undefined, secret = signatureSecret): Promise<JWTPayload> {
  const token = /^Bearer (\S+)$/.exec(post?.headers.authorization ?? '')?.[1] ?? ''
  const key = new TextEncoder().encode(secret)
  return jwtVerify(token, key, { algorithms: ['HS256'], typ: 'JWT' }).then(({ payload }) => payload)
}

describe('a text message over Twilio', () => {
  test('is told of as sent and then as delivered, at exactly the address that was given', async () => {
    const sid = await sidOf(await text(sandbox, { StatusCallback: url }))
    const [sent, delivered] = await receiver.count(2)
    for (const post of [sent, delivered]) {
      expect(post).toMatchObject({ method: 'POST', url })
      expect(post?.headers['content-type']).toMatch(/^application\/x-www-form-urlencoded(;|$)/)
    }
    const common = {
      AccountSid: accountSid,
      ApiVersion: '2010-04-01',
      From: FROM,
      To: TO,
      MessageSid: sid,
      SmsSid: sid,
    }
    expect(form(sent)).toEqual({ ...common, MessageStatus: 'sent', SmsStatus: 'sent' })
    expect(form(delivered)).toEqual({
      ...common,
      MessageStatus: 'delivered',
      SmsStatus: 'delivered',
      RawDlrDoneDate: expect.stringMatching(/^\d{10}$/),
    })
  })

  test('is told of with a signature that fits this address, token and form, and no other', async () => {
    await text(sandbox, { StatusCallback: url, From: 'Bank & Söhne' })
    for (const post of await receiver.count(2)) {
      expect(isTwilios(post)).toBe(true)
      expect(isTwilios(post, { at: url.replace('attempt=7', 'attempt=8') })).toBe(false)
      expect(isTwilios(post, { at: url.replace('?', '/?') })).toBe(false)
      expect(isTwilios(post, { at: receiver.url })).toBe(false)
      expect(isTwilios(post, { token: `${authToken}0` })).toBe(false)
      expect(isTwilios(post, { more: { MessageStatus: 'undelivered' } })).toBe(false)
      expect(isTwilios(post, { more: { ErrorCode: '30003' } })).toBe(false)
    }
  })

  test('is told of without the fragment, which is for Twilio itself', async () => {
    await text(sandbox, { StatusCallback: `${url}#rc=2&rp=all` })
    const [sent] = await receiver.count(1)
    expect(isTwilios(sent, { at: url })).toBe(true)
  })

  test('through a messaging service names it, and no sender', async () => {
    const service = `MG${'1'.repeat(32)}`
    const body = new URLSearchParams({ To: TO, MessagingServiceSid: service, Body: 'Hi', StatusCallback: url })
    await text(sandbox, {}, { body })
    const [sent] = await receiver.count(1)
    expect(form(sent)).toMatchObject({ MessagingServiceSid: service })
    expect(form(sent)).not.toHaveProperty('From')
    expect(isTwilios(sent)).toBe(true)
  })

  test('that fails is told of with its error code, or the one for an unknown error', async () => {
    sandbox.failNext({
      receipts: [
        { status: 'undelivered', errorCode: 30_003 },
        { status: 'failed', errorCode: 30_007 },
        { status: 'failed' },
        { status: 'undelivered' },
        { status: 'canceled' },
      ],
    })
    await text(sandbox, { StatusCallback: url })
    const posts = (await receiver.count(5)).map((post) => form(post))
    expect(posts.map(({ MessageStatus, ErrorCode }) => [MessageStatus, ErrorCode])).toEqual([
      ['undelivered', '30003'],
      ['failed', '30007'],
      ['failed', '30008'],
      ['undelivered', '30008'],
      ['canceled', undefined],
    ])
    expect(posts.map((post) => 'RawDlrDoneDate' in post)).toEqual([true, false, false, true, false])
  })

  test.each([
    ['text', text],
    ['call', ring],
  ])('that is a %s with a callback that is no address is refused', async (_, send) => {
    const response = await send(sandbox, { StatusCallback: 'bank.test/hook' })
    expect(response.status).toBe(400)
    expect(await response.json()).toMatchObject({ code: 21609 })
    expect((await send(sandbox, { StatusCallback: '' })).status).toBe(201)
  })
})

describe('a phone call over Twilio', () => {
  test('is told of when it has ended, unless more is asked for', async () => {
    const statuses = statusesUntil('completed')
    const sid = await sidOf(await ring(sandbox, { StatusCallback: url }))
    const [post] = await receiver.count(1)
    expect(form(post)).toEqual({
      AccountSid: accountSid,
      ApiVersion: '2010-04-01',
      CallSid: sid,
      CallStatus: 'completed',
      From: FROM,
      Caller: FROM,
      To: TO,
      Called: TO,
      Direction: 'outbound-api',
      Timestamp: expect.stringMatching(/^\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d \+0000$/),
      CallbackSource: 'call-progress-events',
      SequenceNumber: '0',
      CallDuration: '12',
      Duration: '1',
    })
    expect(post?.url).toBe(url)
    expect(isTwilios(post)).toBe(true)
    expect(isTwilios(post, { at: `${url}0` })).toBe(false)
    expect(await statuses).toEqual(['queued', 'initiated', 'ringing', 'in-progress', 'completed'])
    expect(receiver.received).toHaveLength(1)
  })

  test('is told of at every event that is asked for, numbered', async () => {
    await ringFor(ALL_EVENTS)
    const posts = (await receiver.count(4)).map(form)
    expect(posts.map(({ CallStatus, SequenceNumber }) => [CallStatus, SequenceNumber])).toEqual([
      ['initiated', '0'],
      ['ringing', '1'],
      ['in-progress', '2'],
      ['completed', '3'],
    ])
    expect(posts.map((post) => 'CallDuration' in post)).toEqual([false, false, false, true])
    expect(receiver.received.every((post) => isTwilios(post))).toBe(true)
  })

  test('is told of at some events', async () => {
    await ringFor(['answered', 'initiated'])
    expect(told(await receiver.count(2), 'CallStatus')).toEqual(['initiated', 'in-progress'])
    await ringFor(['completed'])
    expect(told(await receiver.count(3), 'CallStatus')).toEqual(['initiated', 'in-progress', 'completed'])
  })

  test('is told of as a fault scripts it, asked for or not', async () => {
    const statuses = ['initiated', 'busy', 'no-answer', 'failed', 'canceled']
    sandbox.failNext({ receipts: statuses.map((status) => ({ status })) })
    await ring(sandbox, { StatusCallback: url })
    const posts = (await receiver.count(5)).map((post) => form(post))
    expect(posts.map(({ CallStatus }) => CallStatus)).toEqual(statuses)
    expect(posts.map(({ CallDuration }) => CallDuration)).toEqual([undefined, '0', '0', '0', '0'])
  })
})

describe('a text message over Vonage', () => {
  test('is told of as submitted and then as delivered', async () => {
    const sid = await sidOf(await sms(sandbox, { webhook_url: url, client_ref: 'challenge-1' }))
    const posts = await receiver.count(2)
    for (const [index, status] of ['submitted', 'delivered'].entries()) {
      expect(posts[index]).toMatchObject({ method: 'POST', url, headers: { 'content-type': 'application/json' } })
      expect(json(posts[index])).toEqual({
        message_uuid: sid,
        to: TO.slice(1),
        from: 'Bank',
        timestamp: expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/),
        status,
        usage: { currency: 'EUR', price: expect.stringMatching(/^\d\.\d+$/) },
        destination: { network_code: expect.stringMatching(/^\d{5}$/) },
        client_ref: 'challenge-1',
        channel: 'sms',
        sms: { count_total: '1' },
      })
    }
  })

  test('is told of with a token over the body, signed with the signature secret', async () => {
    await sms(sandbox, { webhook_url: url, client_ref: 'Bänk' })
    const posts = await receiver.count(2)
    const claims = await Promise.all(posts.map((post) => claimsOf(post)))
    for (const [index, { body }] of posts.entries()) {
      expect(claims[index]).toEqual({
        iss: 'Vonage',
        iat: expect.any(Number),
        jti: expect.stringMatching(/^[0-9a-f-]{36}$/),
        api_key: apiKey,
        payload_hash: createHash('sha256').update(body).digest('hex'),
      })
      expect(Math.abs(Number(claims[index]?.iat) - Date.now() / 1_000)).toBeLessThan(10)
    }
    expect(claims[0]?.jti).not.toBe(claims[1]?.jti)
    await expect(claimsOf(posts[0], accounts.vonage.apiSecret)).rejects.toThrow(errors.JWSSignatureVerificationFailed)
  })

  test('is told of unsigned when the account has no signature secret', async () => {
    const { signatureSecret: _none, ...vonage } = accounts.vonage
    await restart({ vonage })
    await sms(sandbox, { webhook_url: url })
    const [post] = await receiver.count(1)
    expect(post?.headers).not.toHaveProperty('authorization')
  })

  test('that fails is told of with its error, or the one for an unknown error', async () => {
    sandbox.failNext({ receipts: [{ status: 'rejected', errorCode: 1240 }, { status: 'undeliverable' }] })
    await sms(sandbox, { webhook_url: url })
    const posts = (await receiver.count(2)).map(json)
    for (const [index, code] of [1240, 1330].entries()) {
      expect(posts[index]?.error).toEqual({
        type: `https://developer.vonage.com/api-errors/messages#${code}`,
        title: code,
        detail: expect.stringMatching(/./),
        instance: expect.stringMatching(/^[0-9a-f]{32}$/),
      })
      expect(posts[index]).not.toHaveProperty('usage')
    }
    expect(posts.map(({ status }) => status)).toEqual(['rejected', 'undeliverable'])
  })

  test.each([
    [429, 2],
    [500, 2],
    [503, 2],
    [403, 1],
    [307, 1],
  ])('whose receipt gets %d is told of %d times in all before what follows', async (status, times) => {
    receiver.answerNext(...Array(times).fill(status))
    await sms(sandbox, { webhook_url: url })
    const posts = await receiver.count(times + 1)
    expect(told(posts, 'status')).toEqual([...Array(times).fill('submitted'), 'delivered'])
    expect(new Set(posts.slice(0, times).map(({ body }) => body)).size).toBe(1)
    expect((await receipts(times + 1)).map(({ answer }) => answer)).toEqual([...Array(times).fill(status), 204])
  })
})

describe('a push over FCM', () => {
  test('is told of to nobody and stays accepted, whatever a fault says', async () => {
    const token = await accessToken(sandbox)
    sandbox.failNext({ receipts: [{ status: 'delivered', delayMs: 0 }] })
    await push(sandbox, token)
    await text(sandbox, { StatusCallback: url })
    await receipts(2)
    expect(sandbox.messages.map(({ status }) => status)).toEqual(['delivered', 'accepted'])
  })
})

describe('the receipts of a message', () => {
  test('are kept as they were sent, with their answers', async () => {
    receiver.answerNext(201, 403)
    const sid = await sidOf(await text(sandbox, { StatusCallback: url }))
    const kept = await receipts(2)
    expect(kept).toMatchObject([
      { provider: 'twilio-sms', sid, status: 'sent', url, answer: 201 },
      { provider: 'twilio-sms', sid, status: 'delivered', url, answer: 403 },
    ])
    for (const [index, { headers, body }] of kept.entries()) {
      const post = receiver.received[index]
      expect(body).toBe(post?.body)
      expect(headers['X-Twilio-Signature']).toBe(post?.headers['x-twilio-signature'])
    }
  })

  test('can be waited for, one after the other', async () => {
    const next = sandbox.nextReceipt()
    await text(sandbox, { StatusCallback: url })
    expect(await next).toMatchObject({ status: 'sent', answer: 204 })
    expect(await sandbox.nextReceipt()).toMatchObject({ status: 'delivered', answer: 204 })
  })

  test('are sent in the order of the script, with its repeats and delays', async () => {
    const script = [
      { status: 'delivered' },
      { status: 'undelivered', errorCode: 30_003, delayMs: 150 },
      { status: 'sent', delayMs: 0 },
      { status: 'sent' },
    ]
    sandbox.failNext({ receipts: script })
    const statuses = statusesUntil('sent')
    await text(sandbox, { StatusCallback: url })
    const posts = await receiver.count(4)
    expect(told(posts, 'MessageStatus')).toEqual(['delivered', 'undelivered', 'sent', 'sent'])
    const [first, second, third] = posts.map(({ atMs }) => atMs)
    expect(Number(second) - Number(first)).toBeGreaterThanOrEqual(145)
    expect(Number(third) - Number(second)).toBeLessThan(145)
    expect(await statuses).toEqual(['queued', 'delivered', 'undelivered', 'sent'])
  })

  test('may be lost', async () => {
    sandbox.failNext({ provider: 'vonage-sms', receipts: [] }, { provider: 'twilio-sms', receipts: [] })
    await text(sandbox, { StatusCallback: url })
    await sms(sandbox, { webhook_url: url })
    const sid = await sidOf(await text(sandbox, { StatusCallback: url }))
    await receipts(2)
    expect(sandbox.receipts.map((receipt) => receipt.sid)).toEqual([sid, sid])
    expect(sandbox.messages.map(({ status }) => status)).toEqual(['delivered', 'submitted', 'queued'])
  })

  test('wait for the answer of the one before, and not for those of others', async () => {
    receiver.answerNext('hold')
    const first = await sidOf(await text(sandbox, { StatusCallback: url }))
    await receiver.count(1)
    const second = await sidOf(await text(sandbox, { StatusCallback: url }))
    const sids = (await receiver.count(3)).map((post) => form(post).MessageSid)
    expect(sids).toEqual([first, second, second])
    expect(await receipts(2)).toHaveLength(2)
    receiver.release()
    const last = (await receiver.count(4)).at(-1)
    expect(form(last)).toMatchObject({ MessageSid: first, MessageStatus: 'delivered' })
  })

  test('go on when one is not answered within 5 s', async () => {
    receiver.answerNext('hold')
    await text(sandbox, { StatusCallback: url })
    const posts = await receiver.count(2)
    const waitedMs = Number(posts[1]?.atMs) - Number(posts[0]?.atMs)
    expect(waitedMs).toBeGreaterThan(4_900)
    expect(waitedMs).toBeLessThan(8_000)
    expect((await receipts(2)).map(({ status, answer }) => [status, answer])).toEqual([
      ['sent', undefined],
      ['delivered', 204],
    ])
  })

  test.each([
    { overrides: '', status: 429, times: 1 },
    { overrides: '', status: 500, times: 1 },
    { overrides: '#rc=2&rp=all', status: 307, times: 1 },
    { overrides: '#rc=2&rp=all', status: 403, times: 3 },
    { overrides: '#rc=5&rp=all', status: 503, times: 6 },
    { overrides: '#rc=2&rp=4xx,5xx', status: 503, times: 3 },
    { overrides: '#rc=2&rp=4xx,ct', status: 503, times: 1 },
    { overrides: '#rp=5xx', status: 503, times: 2 },
    { overrides: '#rc=0&rp=all', status: 503, times: 1 },
  ])(
    'over Twilio with the overrides "$overrides" are sent $times times when $status answers them',
    async ({ overrides, status, times }) => {
      receiver.answerNext(...Array(times).fill(status))
      await text(sandbox, { StatusCallback: `${url}${overrides}` })
      expect((await receipts(times + 1)).map(({ answer }) => answer)).toEqual([...Array(times).fill(status), 204])
      expect(told(receiver.received, 'MessageStatus')).toEqual([...Array(times).fill('sent'), 'delivered'])
      expect(new Set(receiver.received.slice(0, times).map(({ body }) => body)).size).toBe(1)
    },
  )

  test('are tried once more by either vendor when nobody listens', async () => {
    await receiver[Symbol.asyncDispose]()
    await text(sandbox, { StatusCallback: url })
    expect((await receipts(4)).map(({ status, answer }) => [status, answer])).toEqual([
      ['sent', undefined],
      ['sent', undefined],
      ['delivered', undefined],
      ['delivered', undefined],
    ])
    sandbox.clear()
    await sms(sandbox, { webhook_url: url })
    const tried = (await receipts(4)).map(({ status }) => status)
    expect(tried).toEqual(['submitted', 'submitted', 'delivered', 'delivered'])
  })

  test('are those of the newest thousand', async () => {
    for (let batch = 0; batch < 10; batch++) {
      const done = deliveries(51)
      await Promise.all(Array.from({ length: 51 }, () => text(sandbox, { StatusCallback: url })))
      await done
      await receiver.count((batch + 1) * 102)
    }
    await text(sandbox, { StatusCallback: `${url}&last` })
    while (sandbox.receipts.at(-1)?.url !== `${url}&last`) await sandbox.nextReceipt()
    expect(sandbox.receipts).toHaveLength(1_000)
  })
})

describe('a receipt before the answer', () => {
  test.each([
    ['Twilio', text, 'StatusCallback', 201, 'sent'],
    ['Vonage', sms, 'webhook_url', 202, 'submitted'],
  ] as const)('over %s ends before the call is answered', async (_, send, callback, status, early) => {
    sandbox.failNext({ receipts: [{ status: early, beforeAnswer: true }, { status: 'delivered' }] })
    receiver.answerNext('hold')
    let isAnswered = false
    const answer = send(sandbox, { [callback]: url }).finally(() => {
      isAnswered = true
    })
    await receiver.count(1)
    const listed = (await (await fetch(`${sandbox.url}/messages`)).json()) as { status: string }[]
    expect(listed).toMatchObject([{ status: early }])
    expect(isAnswered).toBe(false)
    receiver.release()
    const response = await answer
    expect(response.status).toBe(status)
    const sid = await sidOf(response)
    expect((await receipts(2)).map((receipt) => [receipt.sid, receipt.status])).toEqual([
      [sid, early],
      [sid, 'delivered'],
    ])
  })

  test('comes after those before it in the script', async () => {
    const script = [{ status: 'sent' }, { status: 'sent' }, { status: 'delivered', beforeAnswer: true }]
    sandbox.failNext({ receipts: [...script, { status: 'undelivered', delayMs: 3_600_000 }] })
    await text(sandbox, { StatusCallback: url })
    expect(told(receiver.received, 'MessageStatus')).toEqual(['sent', 'sent', 'delivered'])
  })

  test('is none unless told: the answer comes first', async () => {
    sandbox.failNext(
      { receipts: [{ status: 'sent', delayMs: 3_600_000 }] },
      { receipts: [{ status: 'sent', delayMs: 0 }] },
    )
    expect((await text(sandbox, { StatusCallback: url })).status).toBe(201)
    expect((await text(sandbox, { StatusCallback: url })).status).toBe(201)
    await receiver.count(1)
  })
})

describe('a call that fails though the message was sent', () => {
  test.each([
    ['reset', { reset: true }],
    ['hang', { hang: true }],
    ['status', { status: 500 }],
    ['body', { body: 'not json' }],
    ['redirect', { redirect: 'http://127.0.0.1:1/' }],
    ['drip', { drip: true }],
    ['latency and status', { latencyMs: 20, status: 503 }],
  ] as const)('by %s is followed by the usual receipts', async (_, fault) => {
    sandbox.failNext({ ...fault, sent: true })
    const gone = new AbortController()
    const answer = text(sandbox, { StatusCallback: url }, { signal: gone.signal }).then((response) => response.text())
    const settled = Promise.allSettled([answer])
    const posts = await receiver.count(2)
    expect(posts.map((post) => form(post).MessageSid)).toEqual(Array(2).fill(sandbox.messages[0]?.sid))
    expect(told(posts, 'MessageStatus')).toEqual(['sent', 'delivered'])
    gone.abort()
    await settled
  })

  test('is followed by those of its script', async () => {
    sandbox.failNext({ reset: true, sent: true, receipts: [{ status: 'undelivered', beforeAnswer: true }] })
    await expect(text(sandbox, { StatusCallback: url })).rejects.toThrow()
    expect(told(receiver.received, 'MessageStatus')).toEqual(['undelivered'])
    sandbox.failNext({ status: 500, sent: true, receipts: [{ status: 'failed' }] })
    expect((await text(sandbox, { StatusCallback: url })).status).toBe(500)
    expect(told(await receiver.count(2), 'MessageStatus')).toEqual(['undelivered', 'failed'])
  })

  test('is followed by nothing when it was not sent, or refused', async () => {
    sandbox.failNext({ status: 500 }, { status: 500, sent: true }, { receipts: [{ status: 'sent' }] })
    expect((await text(sandbox, { StatusCallback: url })).status).toBe(500)
    expect((await text(sandbox, { StatusCallback: url, To: '+15005550001' })).status).toBe(500)
    expect((await text(sandbox, { StatusCallback: url, To: '+15005550001' })).status).toBe(400)
    const sid = await sidOf(await text(sandbox, { StatusCallback: url }))
    await receipts(2)
    expect(sandbox.receipts.map((receipt) => receipt.sid)).toEqual([sid, sid])
  })
})

describe("a message's status", () => {
  test.each([
    ['text over Twilio', text, ['queued', 'sent', 'delivered']],
    ['call over Twilio', ring, ['queued', 'initiated', 'ringing', 'in-progress', 'completed']],
    ['text over Vonage', sms, ['submitted', 'delivered']],
  ])('moves for a %s also when nobody asked for receipts', async (_, send, course) => {
    const statuses = statusesUntil(String(course.at(-1)))
    await send(sandbox)
    expect(await statuses).toEqual(course)
    expect(sandbox.messages[0]?.status).toBe(course.at(-1))
    expect(sandbox.receipts).toEqual([])
  })

  test('is told with the message to every listener, until it leaves', async () => {
    const [seen, left]: [string[], string[]] = [[], []]
    sandbox.onMessage(({ body, status }) => seen.push(`${body} ${status}`))
    const leave = sandbox.onMessage(({ status }) => {
      left.push(status)
      if (status === 'sent') leave()
    })
    const delivered = statusesUntil('delivered')
    await text(sandbox, { Body: 'Hi' })
    await delivered
    expect(seen).toEqual(['Hi queued', 'Hi sent', 'Hi delivered'])
    expect(left).toEqual(['queued', 'sent'])
  })

  test('can be made to stay, but for what a fault scripts', async () => {
    await restart({ receipts: 'none' })
    await text(sandbox, { StatusCallback: url })
    sandbox.failNext({ receipts: [{ status: 'sent', delayMs: 60 }] })
    await text(sandbox, { StatusCallback: url })
    await receipts(1)
    expect(sandbox.messages.map(({ status }) => status)).toEqual(['sent', 'queued'])
  })

  test('moves unless told otherwise when starting', async () => {
    await using usual = await startSandbox({ host: '127.0.0.1', port: 0, ...accounts })
    const delivered = new Promise<void>((resolve) => {
      usual.onMessage(({ status }) => {
        if (status === 'delivered') resolve()
      })
    })
    await text(usual)
    await delivered
  })
})

describe('faults over HTTP', () => {
  test('may script receipts', async () => {
    const body = '{"next":[{"receipts":[{"status":"undelivered","errorCode":30003,"delayMs":1},{"status":"sent"}]}]}'
    expect((await fetch(`${sandbox.url}/faults`, { method: 'POST', body })).status).toBe(204)
    await text(sandbox, { StatusCallback: url })
    expect(told(await receiver.count(2), 'MessageStatus')).toEqual(['undelivered', 'sent'])
  })

  test('with receipts that are malformed are refused with every problem', async () => {
    const all =
      'accepted, queued, sending, sent, delivered, undelivered, failed, canceled, initiated, ringing, in-progress, ' +
      'completed, busy, no-answer, submitted, rejected, undeliverable'
    const next = [
      { receipts: [] },
      { receipts: 'none' },
      {
        receipts: [{ status: 'sent' }, {}, 7, { status: 'gone', delayMs: -1, beforeAnswer: 1, errorCode: 0, oops: 1 }],
      },
      { provider: 'vonage-sms', receipts: [{ status: 'sent' }] },
      { provider: 'fcm-push', receipts: [{ status: 'delivered' }] },
      { provider: 'fcm-token', receipts: [] },
      { status: 500, receipts: [] },
      { reset: true, sent: false, receipts: [{ status: 'sent' }] },
      { hang: true, sent: true, latencyMs: 1, receipts: [{ status: 'sent' }] },
      { sent: true, receipts: [{ status: 'sent', delayMs: 3_600_001 }] },
    ]
    const response = await fetch(`${sandbox.url}/faults`, { method: 'POST', body: JSON.stringify({ next }) })
    expect(response.status).toBe(400)
    expect(await response.json()).toEqual({
      problems: [
        'next[1].receipts must be a list of receipts',
        `next[2].receipts[1].status must be one of ${all}`,
        'next[2].receipts[2] must be an object',
        'next[2].receipts[3].oops is not known',
        `next[2].receipts[3].status must be one of ${all}`,
        'next[2].receipts[3].errorCode must be a whole number from 1 to 99999 or a name such as UNAVAILABLE',
        'next[2].receipts[3].delayMs must be a whole number from 0 to 3600000',
        'next[2].receipts[3].beforeAnswer must be true or false',
        'next[3].receipts[0].status must be one of submitted, delivered, rejected, undeliverable',
        'next[4].receipts is not for fcm-push, which has none',
        'next[5].receipts is not for fcm-token, which has none',
        'next[6].receipts needs sent beside status',
        'next[7].receipts needs sent beside reset',
        'next[9].receipts[0].delayMs must be a whole number from 0 to 3600000',
      ],
    })
  })
})

describe('receipts that wait', () => {
  test.each([
    ['clearing', () => sandbox.clear()],
    ['emptying the list of messages', () => fetch(`${sandbox.url}/messages`, { method: 'DELETE' })],
  ])('are cancelled by %s, and those that were sent are forgotten', async (_, forget) => {
    const scripted = [{ status: 'sent' }, { status: 'delivered', delayMs: 1_500 }]
    sandbox.failNext({ receipts: scripted }, { receipts: scripted })
    await text(sandbox, { StatusCallback: `${url}&first` })
    await receipts(1)
    receiver.answerNext('hold')
    await text(sandbox, { StatusCallback: `${url}&second` })
    await receiver.count(2)
    const statuses = statusesUntil('delivered')
    await forget()
    expect(sandbox.receipts).toEqual([])
    receiver.release()
    sandbox.failNext({ receipts: [{ status: 'delivered', delayMs: 2_000 }] })
    await text(sandbox, { StatusCallback: `${url}&third` })
    await receipts(1)
    expect(sandbox.receipts.map((receipt) => receipt.url)).toEqual([`${url}&third`])
    expect(receiver.received).toHaveLength(3)
    expect(await statuses).toEqual(['queued', 'delivered'])
  })

  test('before the answer do not keep a call from it when they are cancelled', async () => {
    sandbox.failNext({
      receipts: [{ status: 'sent', delayMs: 3_600_000, beforeAnswer: true }, { status: 'delivered' }],
    })
    const next = sandbox.nextCall()
    const answer = text(sandbox, { StatusCallback: url })
    await next
    sandbox.clear()
    expect((await answer).status).toBe(201)
    await text(sandbox, { StatusCallback: `${url}&second` })
    await receipts(2)
    expect(receiver.received.map((post) => post.url)).toEqual(Array(2).fill(`${url}&second`))
  })

  test('are cancelled when the sandbox is stopped, and so is a wait for the next', async () => {
    receiver.answerNext('hold')
    sandbox.failNext({ receipts: [{ status: 'sent', delayMs: 3_600_000 }] })
    await text(sandbox, { StatusCallback: url })
    await text(sandbox, { StatusCallback: url })
    await receiver.count(1)
    const next = sandbox.nextReceipt()
    const settled = Promise.allSettled([next])
    await sandbox[Symbol.asyncDispose]()
    await settled
    await expect(next).rejects.toThrow('stopped')
    await expect(sandbox.nextReceipt()).rejects.toThrow('stopped')
    expect(sandbox.receipts).toEqual([])
    expect(sandbox.messages.map(({ status }) => status)).toEqual(['sent', 'queued'])
  })
})
