import { sql } from 'kysely'
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest'
import { AbortReason, ChallengeStatus, Channel, SignatureStatus } from '../../gen/bank/signature/v1/signature_pb.ts'
import { type App, randomKey, row, startApp, startRequest, transaction } from '../support/app.ts'
import { challengesOf, codeOf, history } from '../support/hops.ts'
import { publish, route } from '../support/routing.ts'
import { fromTwilio, keptReceipts, post, reported } from '../support/webhooks.ts'

const PII_KEY = randomKey()

let app: App
beforeAll(async () => {
  app = await startApp({ PII_KEYS: `p1:${PII_KEY}` })
  await publish(app, [
    {
      ...route(10, { VOICE: ['twilio-voice'], SMS: ['twilio-sms'] }, { customerSegment: 'FALLBACK' }),
      fallbackOnUndelivered: true,
    },
    route(20, { VOICE: ['twilio-voice'] }, { channel: Channel.VOICE }),
    route(30, { SMS: ['twilio-sms'] }),
  ])
})
beforeEach(() => app.sandbox.clear())
afterAll(() => app[Symbol.asyncDispose]())

const ASKED =
  'Pay 125.50 euros to the payee named: ACME Ltd Account ending in 1 3 3 2. Press 1 to hear your code. Once more. ' +
  'Pay 125.50 euros to the payee named: ACME Ltd Account ending in 1 3 3 2. Press 1 to hear your code.'

/** Calls a phone. The code in it is known to the service alone. */
async function call(fields: Parameters<typeof startRequest>[0] = {}) {
  const { signature, challenge } = await app.client.startSignature(startRequest({ channel: Channel.VOICE, ...fields }))
  const made = app.sandbox.calls.at(-1) ?? expect.unreachable()
  return {
    signatureId: signature?.id ?? '',
    challengeId: challenge?.id ?? '',
    sid: challenge?.providerChallengeId ?? '',
    code: codeOf(made, app.env),
    keysUrl: new URL(/action="(.*?)"/.exec(made.form.get('Twiml') ?? '')?.[1]?.replaceAll('&amp;', '&') ?? ''),
  }
}

function heard(sid: string): string[] {
  return app.sandbox.messages.find((message) => message.sid === sid)?.body.split('\n') ?? []
}

async function deliveryOf(challengeId: string) {
  const stored = await row(app, 'challenge', challengeId)
  return [stored?.delivery_status, stored?.vendor_status]
}

/** What Twilio posts when a key is pressed. */
function keyPress(sid: string, key: string): Record<string, string> {
  return {
    AccountSid: app.env.TWILIO_ACCOUNT_SID ?? '',
    CallSid: sid,
    CallStatus: 'in-progress',
    Digits: key,
    msg: 'Gather End',
  }
}

test('a call says amount and payee, and the code only once 1 is pressed: then it is delivered, and signs', async () => {
  const { signatureId, challengeId, sid, code } = await call()
  expect(heard(sid)).toEqual([ASKED])
  expect(await deliveryOf(challengeId)).toEqual(['ACCEPTED', null])

  expect(await app.sandbox.press(sid, '1')).toBe(true)

  const once = `Pay 125.50 euros to the payee named: ACME Ltd Account ending in 1 3 3 2. Your code to sign is: ${[...code].join(' ')}`
  expect(heard(sid)).toEqual([ASKED, `${once} Once more. ${once} Never share this code. Goodbye.`])
  expect(await deliveryOf(challengeId)).toEqual(['DELIVERED', 'key-1'])
  expect(await keptReceipts(app, challengeId)).toMatchObject([{ vendor_status: 'key-1', key_name: 'current' }])
  const signed = await app.client.completeSignature({ signatureId, code, transaction: transaction() })
  expect(signed.signature?.status).toBe(SignatureStatus.SIGNED)
})

test('a call in Spanish goes on in Spanish', async () => {
  const { sid } = await call({ locale: 'es-MX' })
  await app.sandbox.press(sid, '1')
  expect(heard(sid)[1]).toMatch(
    /^Pagar 125,50 euros al beneficiario llamado: ACME Ltd .* Su clave para firmar es: \d \d/,
  )
})

test.each(['2', '0', '*', '#'])('the key %s ends the call without a code, and nothing is delivered', async (key) => {
  const { challengeId, sid } = await call()

  expect(await app.sandbox.press(sid, key)).toBe(true)

  expect(heard(sid)).toEqual([ASKED])
  expect(await deliveryOf(challengeId)).toEqual(['ACCEPTED', null])
  expect(await keptReceipts(app, challengeId)).toMatchObject([{ vendor_status: `key-${key}` }])
})

test('a call that a machine answers, or nobody presses a key in, is undelivered and makes way', async () => {
  const steps = ['initiated', 'ringing', 'in-progress', 'completed'].map((status) => ({ status }))
  app.sandbox.failNext({ provider: 'twilio-voice', receipts: steps })
  const next = app.sandbox.nextCall().then(() => app.sandbox.nextCall())

  const { signatureId, challengeId } = await call({ channel: Channel.UNSPECIFIED, customerSegment: 'FALLBACK' })

  await next
  await reported(app, steps.length)
  expect(await deliveryOf(challengeId)).toEqual(['UNDELIVERED', 'completed'])
  const hops = (await challengesOf(app, signatureId)).map(({ provider, status }) => [provider, status])
  expect(hops).toEqual([
    ['twilio-voice', 'CANCELLED'],
    ['twilio-sms', expect.stringMatching(/PENDING|SENT/)],
  ])
})

test('a call that ends after its code was said stays delivered, and makes way for nobody', async () => {
  const { signatureId, challengeId, sid } = await call({ channel: Channel.UNSPECIFIED, customerSegment: 'FALLBACK' })
  await app.sandbox.press(sid, '1')
  const target = `/webhooks/twilio/calls?challenge=${challengeId}&attempt=1`
  const params = {
    AccountSid: app.env.TWILIO_ACCOUNT_SID ?? '',
    CallSid: sid,
    CallStatus: 'completed',
    CallDuration: '31',
  }

  expect(await post(app, fromTwilio(app, target, params))).toBe(200)

  expect(await deliveryOf(challengeId)).toEqual(['DELIVERED', 'key-1'])
  expect(await challengesOf(app, signatureId)).toMatchObject([{ provider: 'twilio-voice', status: 'SENT' }])
})

test('a key pressed in a call that had seemed over delivers after all', async () => {
  const { challengeId, sid } = await call()
  const target = `/webhooks/twilio/calls?challenge=${challengeId}&attempt=1`
  const params = { AccountSid: app.env.TWILIO_ACCOUNT_SID ?? '', CallSid: sid, CallStatus: 'completed' }
  expect(await post(app, fromTwilio(app, target, params))).toBe(200)
  expect(await deliveryOf(challengeId)).toEqual(['UNDELIVERED', 'completed'])

  await app.sandbox.press(sid, '1')

  expect(await deliveryOf(challengeId)).toEqual(['DELIVERED', 'key-1'])
})

test.each([
  [
    'was signed',
    (id: string, code: string) => app.client.completeSignature({ signatureId: id, code, transaction: transaction() }),
  ],
  ['was aborted', (signatureId: string) => app.client.abortSignature({ signatureId, reason: AbortReason.OPERATOR })],
  [
    'has expired',
    (id: string) => sql`UPDATE challenge SET expires_at = clock_timestamp() WHERE signature_id = ${id}`.execute(app.db),
  ],
])('no code is said once the signature %s', async (_, end) => {
  const { signatureId, challengeId, sid, code } = await call()
  await end(signatureId, code)

  await app.sandbox.press(sid, '1')

  expect(heard(sid)).toEqual([ASKED])
  expect(await deliveryOf(challengeId)).toEqual(['ACCEPTED', null])
})

test('after a resend the call before says nothing any more', async () => {
  const { signatureId, challengeId, sid } = await call()
  await sql`UPDATE challenge SET created_at = created_at - interval '31 s' WHERE id = ${challengeId}`.execute(app.db)
  await app.client.resendChallenge({ signatureId, idempotencyKey: crypto.randomUUID(), channel: Channel.SMS })

  await app.sandbox.press(sid, '1')

  expect(heard(sid)).toEqual([ASKED])
  expect((await app.client.getChallenge({ challengeId })).challenge?.status).toBe(ChallengeStatus.CANCELLED)
})

test('the code of a call is of no use without the signature of Twilio, nor for another challenge', async () => {
  const [one, other] = [await call(), await call()]
  const press = keyPress(one.sid, '1')
  const { target, headers, body } = fromTwilio(app, one.keysUrl.pathname + one.keysUrl.search, press)
  expect(await post(app, { target, headers: { ...headers, 'x-twilio-signature': '' }, body })).toBe(403)
  one.keysUrl.searchParams.set('code', other.keysUrl.searchParams.get('code') ?? '')
  const swapped = one.keysUrl.pathname + one.keysUrl.search
  expect(await post(app, { target: swapped, headers, body })).toBe(403)
  expect(await post(app, fromTwilio(app, swapped, press))).toBe(503)
  expect(await deliveryOf(one.challengeId)).toEqual(['ACCEPTED', null])
})

test('the code in the URL is sealed, for this place alone, and no row has it', async () => {
  const { keysUrl, code, signatureId } = await call()
  expect(decodeURIComponent(keysUrl.href)).not.toContain(code)
  expect(keysUrl.searchParams.get('code')).toMatch(/^p1\.[\w-]{46}$/)
  expect(await history(app, signatureId)).toEqual([
    'SIGNATURE_STARTED',
    'CHALLENGE_STARTED #1 twilio-voice',
    'CHALLENGE_SENT #1 twilio-voice after 1',
  ])
})

test('a replica with newer keys than the call was made with still says its code', async () => {
  const { sid, code, keysUrl } = await call()
  const rotated = await app.replica({ PII_KEYS: `p2:${randomKey()},p1:${PII_KEY}` })
  const target = keysUrl.pathname + keysUrl.search
  const { headers, body } = fromTwilio(rotated, target, keyPress(sid, '1'))
  const url = `http://127.0.0.1:${rotated.server.httpPort}${target}`
  const response = await fetch(url, { method: 'POST', headers, body })
  expect(response.headers.get('content-type')).toBe('text/xml; charset=utf-8')
  expect((await response.text()).match(/(?<=>)\d(?=<)/g)?.join('')).toBe(code + code)
})

test('without PUBLIC_WEBHOOK_URL there is no twilio-voice, and the log says why', async () => {
  await expect(app.replica({ PUBLIC_WEBHOOK_URL: '' })).rejects.toThrow(
    'names "twilio-voice" for VOICE; there is only twilio-sms',
  )
  await publish(app, [route(30, { SMS: ['twilio-sms'] })])
  const silent = await app.replica({ PUBLIC_WEBHOOK_URL: '' })
  const { providers } = await silent.routing.listProviders({})
  expect(providers.map(({ name }) => name)).not.toContain('twilio-voice')
  expect(silent.logs).toContainEqual(
    expect.objectContaining({
      level: 'warn',
      msg: expect.stringContaining('no twilio-voice without PUBLIC_WEBHOOK_URL'),
    }),
  )
})
