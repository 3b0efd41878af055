import { createHmac, randomBytes, randomUUID } from 'node:crypto'
import { SignJWT } from 'jose'
import { afterAll, beforeAll, expect, inject, test } from 'vitest'
import { type App, start, startApp } from '../support/app.ts'
import {
  dumpRows,
  fromTwilio,
  keptReceipts,
  post,
  twilioParams,
  twilioReceipt,
  twilioSignature,
  twilioTarget,
  twilioText,
  vonageReceipt,
  type Webhook,
} from '../support/webhooks.ts'

const ROUNDS = 10
const PREVIOUS = randomBytes(16).toString('hex')

let app: App
let challengeId: string
let sid: string
beforeAll(async () => {
  // As an operator sets it whose secret store holds nothing there.
  app = await startApp({ TWILIO_AUTH_TOKEN_PREVIOUS: '' })
  challengeId = (await start(app)).challengeId
  sid = app.sandbox.messages[0]?.sid ?? ''
})
afterAll(() => app[Symbol.asyncDispose]())

async function forged(page: string, provider: string): Promise<number> {
  const line = new RegExp(`^challenge_receipts_total{provider="${provider}",outcome="forged"} (\\d+)$`, 'm')
  return Number(line.exec(page)?.[1] ?? 0)
}

const url = (target: string) => `http://127.0.0.1:${app.server.httpPort}${target}`

/** Twilio's right receipt under another signature. */
function resigned(receipt: Webhook, signature: string): Webhook {
  return { ...receipt, headers: { ...receipt.headers, 'x-twilio-signature': signature } }
}

/** Twilio's own signature of a receipt under other parameters that make the same text. */
function spliced(receipt: Webhook, target: string, params: Record<string, string>): Webhook {
  const original = Object.fromEntries(new URLSearchParams(receipt.body))
  if (twilioText(target, params) !== twilioText(receipt.target, original)) throw new Error('another text')
  return { ...receipt, target, body: new URLSearchParams(params).toString() }
}

/** What someone would send who has no secret, or only what a vendor signed for something else. */
async function forgeries(round: number): Promise<[what: string, Webhook, provider?: string][]> {
  const told = { challengeId, sid, status: 'undelivered', errorCode: String(30_001 + round) }
  const [right, vonages, another] = [twilioReceipt(app, told), await vonageReceipt(told), twilioTarget(told, 'calls')]
  const params = twilioParams(told)
  const { MessageSid, ErrorCode, ...unspliced } = params
  const signedWith = (token: string) => resigned(right, twilioSignature(token, url(right.target), params))
  const { ErrorCode: code = '', ...uncoded } = params
  const [head = '', claims = ''] = String(vonages.headers.authorization).split(' ')[1]?.split('.') ?? []
  const unsignedHead = Buffer.from('{"alg":"none"}').toString('base64url')
  const emptyKey = createHmac('sha256', '').update(`${head}.${claims}`).digest('base64url')
  const strange = await new SignJWT({ api_key: inject('accounts').vonage.apiKey })
    .setProtectedHeader({ alg: 'HS256' })
    .sign(randomBytes(32))
  return [
    ['unsigned', { ...right, headers: {} }],
    ['an empty signature', resigned(right, '')],
    ['any signature', resigned(right, randomBytes(20).toString('base64'))],
    ['an empty token', signedWith('')],
    ['another token', signedWith(PREVIOUS)],
    ['the account for a token', signedWith(params.AccountSid ?? '')],
    ['replayed for another attempt', { ...right, target: right.target.replace(/1$/, '2') }],
    ['replayed for another challenge', { ...right, target: right.target.replace(challengeId, randomUUID()) }],
    ['replayed as a call', { ...right, target: another }, 'twilio-voice'],
    ['replayed without its query', { ...right, target: right.target.replace(/\?.*/, '') }],
    ['replayed with more query', { ...right, target: `${right.target}&status=delivered` }],
    [
      'of another host',
      resigned(right, twilioSignature(inject('accounts').twilio.authToken, `http://evil${right.target}`, params)),
    ],
    ['a changed status', { ...right, body: right.body.replaceAll('undelivered', 'delivered') }],
    ['another message', { ...right, body: right.body.replaceAll(sid, `SM${randomBytes(16).toString('hex')}`) }],
    ['a doubled parameter', { ...right, body: `${right.body}&MessageStatus=delivered` }],
    ['its code spliced away', spliced(right, right.target, { ...uncoded, Error: `Code${code}` })],
    [
      'letters moved into the URL',
      spliced(right, `${right.target}AccountSid${params.AccountSid}`, without(params, 'AccountSid')),
    ],
    [
      'a value moved into the one before',
      spliced(right, right.target, { ...unspliced, From: `${params.From}MessageSid${MessageSid}`, ErrorCode: code }),
    ],
    ['another account', fromTwilio(app, right.target, { ...params, AccountSid: `AC${'1'.repeat(32)}` })],
    ['a Twilio signature for Vonage', { ...right, target: vonages.target }, 'vonage-sms'],
    ['an unsigned token', authorized(vonages, `${unsignedHead}.${claims}.`), 'vonage-sms'],
    ['an empty secret', authorized(vonages, `${head}.${claims}.${emptyKey}`), 'vonage-sms'],
    ['a token of someone else', authorized(vonages, strange), 'vonage-sms'],
    ['another body', { ...vonages, body: vonages.body.replace('undelivered', 'delivered') }, 'vonage-sms'],
  ]
}

function without(params: Record<string, string>, name: string): Record<string, string> {
  return Object.fromEntries(Object.entries(params).filter(([each]) => each !== name))
}

function authorized(receipt: Webhook, token: string): Webhook {
  return { ...receipt, headers: { authorization: `Bearer ${token}` } }
}

test('over 200 webhooks that are no vendor’s word are refused, counted, and change no row', async () => {
  const all = (await Promise.all(Array.from({ length: ROUNDS }, (_, round) => forgeries(round)))).flat()
  expect(all.length).toBeGreaterThan(200)
  const before = await dumpRows(app)
  expect(before.challenge).toHaveLength(1)

  for (const [what, webhook] of all) expect(await post(app, webhook), what).toBe(403)

  expect(await dumpRows(app)).toEqual(before)
  const page = await app.metrics()
  for (const provider of ['twilio-sms', 'twilio-voice', 'vonage-sms']) {
    const sent = all.filter(([, , to = 'twilio-sms']) => to === provider)
    expect(await forged(page, provider), provider).toBe(sent.length)
  }
  expect(app.logs.filter(({ msg }) => msg === 'receipt refused')).toHaveLength(all.length)
})

test('the headers that a proxy may set do not change for which URL a receipt is', async () => {
  const told = { challengeId, sid, status: 'sent' }
  const [target, params] = [twilioTarget(told), twilioParams(told)]
  const signature = twilioSignature(inject('accounts').twilio.authToken, `https://evil.example${target}`, params)
  const evil = resigned(twilioReceipt(app, told), signature)
  const forwarded = { 'x-forwarded-host': 'evil.example', 'x-forwarded-proto': 'https', forwarded: 'host=evil.example' }
  expect(await post(app, { ...evil, headers: { ...evil.headers, ...forwarded } })).toBe(403)
})

test('while a token is rotated, receipts may be signed with either, and what is kept tells with which', async () => {
  const rotating = await app.replica({ TWILIO_AUTH_TOKEN_PREVIOUS: PREVIOUS })
  const now = { challengeId, sid, status: 'sent' }
  const then = { challengeId, sid, status: 'queued' }
  const target = twilioTarget(then)
  const signature = twilioSignature(
    PREVIOUS,
    `http://127.0.0.1:${rotating.server.httpPort}${target}`,
    twilioParams(then),
  )
  expect(await post(rotating, twilioReceipt(rotating, now))).toBe(200)
  expect(await post(rotating, resigned(twilioReceipt(rotating, then), signature))).toBe(200)
  const kept = await keptReceipts(app, challengeId)
  expect(kept.map(({ vendor_status, key_name }) => [vendor_status, key_name])).toEqual([
    ['sent', 'current'],
    ['queued', 'previous'],
  ])
})
