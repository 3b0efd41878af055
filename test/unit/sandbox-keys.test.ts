import twilio from 'twilio'
import { afterEach, beforeEach, expect, test } from 'vitest'
import type { Sandbox } from '../../src/sandbox/sandbox.ts'
import { type Receiver, startReceiver } from '../support/receiver.ts'
import { accountSid, authToken, FROM, ring, sandboxOnFreePort, TO, text } from '../support/sandbox-client.ts'

let sandbox: Sandbox
let receiver: Receiver

beforeEach(async () => {
  sandbox = await sandboxOnFreePort({ receipts: 'delivered' })
  receiver = await startReceiver()
})
afterEach(async () => {
  await sandbox[Symbol.asyncDispose]()
  await receiver[Symbol.asyncDispose]()
})

/** Calls a phone, with TwiML that asks for a key. */
async function ask(form: Record<string, string> = {}): Promise<string> {
  const action = `${receiver.url}/keys?a=1&amp;b=2`
  const Twiml = `<Response><Gather numDigits="1" action="${action}"><Say>Press 1.</Say></Gather></Response>`
  const { sid } = (await (await ring(sandbox, { Twiml, ...form })).json()) as { sid: string }
  return sid
}

function press(sid: string, body: unknown): Promise<Response> {
  return fetch(`${sandbox.url}/messages/${sid}/keys`, { method: 'POST', body: JSON.stringify(body) })
}

/** Resolves once the call has this status. */
function statusIs(status: string): Promise<void> {
  return new Promise((resolve) => {
    const leave = sandbox.onMessage((message) => {
      if (message.status !== status) return
      leave()
      resolve()
    })
  })
}

test('a call that asks for a key waits for one, and goes on with what is answered to it', async () => {
  const inProgress = statusIs('in-progress')
  const sid = await ask()
  await inProgress
  expect(sandbox.messages[0]).toMatchObject({ sid, body: 'Press 1.', awaits_key: true })
  const completed = statusIs('completed')
  receiver.answerNext({ body: '<Response><Say>Your code is</Say><Say>1</Say></Response>' })

  expect((await press(sid, { key: '1' })).status).toBe(204)

  expect(sandbox.messages[0]).toMatchObject({ body: 'Press 1.\nYour code is 1', awaits_key: false })
  await completed
})

test('the key is told as Twilio does, signed for exactly the address that was given', async () => {
  const sid = await ask()
  await press(sid, { key: '#' })

  const [post = expect.unreachable()] = receiver.received
  const form = Object.fromEntries(new URLSearchParams(post.body))
  expect(post.url).toBe(`${receiver.url}/keys?a=1&b=2`)
  expect(form).toEqual({
    AccountSid: accountSid,
    ApiVersion: '2010-04-01',
    CallSid: sid,
    CallStatus: 'in-progress',
    From: FROM,
    Caller: FROM,
    To: TO,
    Called: TO,
    Direction: 'outbound-api',
    Digits: '#',
    FinishedOnKey: '',
    msg: 'Gather End',
  })
  const signature = String(post.headers['x-twilio-signature'])
  expect(twilio.validateRequest(authToken, signature, post.url, form)).toBe(true)
})

test('what answers a key with no TwiML has the call end as Twilio ends it', async () => {
  for (const answer of [500, 204, { body: 'ok' }]) {
    receiver.answerNext(answer)
    const sid = await ask()
    await press(sid, { key: '1' })
    expect(sandbox.messages[0]?.body).toBe('Press 1.\nWe are sorry, an application error has occurred. Goodbye.')
  }
})

test('a key is pressed once, and only where one is waited for', async () => {
  const sid = await ask()
  receiver.answerNext('hold')
  const first = press(sid, { key: '1' })
  await receiver.count(1)
  expect((await press(sid, { key: '1' })).status).toBe(409)
  receiver.release()
  expect((await first).status).toBe(204)
  expect((await press(sid, { key: '1' })).status).toBe(409)

  await text(sandbox)
  const plain = sandbox.messages[0]?.sid ?? ''
  for (const other of [plain, 'CA1']) expect((await press(other, { key: '1' })).status).toBe(409)
  expect(receiver.received).toHaveLength(1)
})

test('a call that is over waits for no key any more', async () => {
  sandbox.failNext({ provider: 'twilio-voice', receipts: [{ status: 'in-progress' }, { status: 'completed' }] })
  const completed = statusIs('completed')
  const sid = await ask()
  await completed
  expect(sandbox.messages[0]).toMatchObject({ body: 'Press 1.', awaits_key: false })
  expect((await press(sid, { key: '1' })).status).toBe(409)
})

test.each([{}, { key: '' }, { key: '12' }, { key: 1 }, 'x', null])('%j is no key', async (body) => {
  const response = await press(await ask(), body)
  expect(response.status).toBe(400)
  expect(await response.json()).toEqual({ problems: ['key must be one of 0 to 9, * and #'] })
})

test('a key is pressed by POST alone', async () => {
  const response = await fetch(`${sandbox.url}/messages/CA1/keys`)
  expect([response.status, response.headers.get('allow')]).toEqual([405, 'POST'])
})
