import { randomBytes, randomUUID } from 'node:crypto'
import { describe, expect, test } from 'vitest'
import { parseSpokenCode, sealSpokenCode } from '../../src/domain/spoken-code.ts'
import {
  twilioCallReceipts,
  twilioKeyPresses,
  twilioMessageReceipts,
} from '../../src/providers/twilio/twilio-receipts.ts'
import { twilioSignature } from '../support/webhooks.ts'

const PUBLIC_URL = 'https://bank.example'
const [CURRENT, PREVIOUS] = [randomBytes(16).toString('hex'), randomBytes(16).toString('hex')]
const ACCOUNT = `AC${randomBytes(16).toString('hex')}`
const SID = `SM${randomBytes(16).toString('hex')}`
const CHALLENGE = randomUUID()
const TARGET = `/webhooks/twilio/messages?challenge=${CHALLENGE}&attempt=2`
const CALL_TARGET = TARGET.replace('messages', 'calls')
const PARAMS = {
  AccountSid: ACCOUNT,
  ApiVersion: '2010-04-01',
  ErrorCode: '30003',
  From: 'Bank',
  MessageSid: SID,
  MessageStatus: 'undelivered',
  RawDlrDoneDate: '2611230144',
  SmsSid: SID,
  SmsStatus: 'undelivered',
  To: '+34600111222',
}
const SEALED = sealSpokenCode({ currentId: 'p1', byId: new Map([['p1', randomBytes(32)]]) }, '012345', CHALLENGE)
const KEY_TARGET = `${TARGET.replace('messages', 'keys')}&code=${SEALED}`
const CALL = { AccountSid: ACCOUNT, CallSid: `CA${SID.slice(2)}`, CallStatus: 'completed', To: '+34600111222' }

const authTokens = { current: CURRENT, previous: PREVIOUS }
const config = { accountSid: ACCOUNT, authTokens, publicUrl: PUBLIC_URL }
const messages = twilioMessageReceipts(config)
const calls = twilioCallReceipts(config)
const keys = twilioKeyPresses(config)

const signed = (params: Record<string, string>, target = TARGET, token = CURRENT) =>
  twilioSignature(token, PUBLIC_URL + target, params)

/** Reads parameters that are signed with the current token, but for what is told. */
function read(
  params: Record<string, string> = PARAMS,
  {
    reader = messages,
    target = TARGET,
    signature = signed(params, target),
    body = new URLSearchParams(params).toString(),
  }: { reader?: typeof messages; target?: string; signature?: string | undefined; body?: string } = {},
) {
  return reader.read({ target, headers: { 'x-twilio-signature': signature }, rawBody: Buffer.from(body) })
}

function without(name: keyof typeof PARAMS): Record<string, string> {
  return Object.fromEntries(Object.entries(PARAMS).filter(([each]) => each !== name))
}

describe('a receipt signed by Twilio', () => {
  test('is read with everything that it says, and what proves it', async () => {
    const signature = signed(PARAMS)
    expect(await read()).toEqual({
      challengeId: CHALLENGE,
      attempt: 2,
      provider: 'twilio-sms',
      providerChallengeId: SID,
      vendorStatus: 'undelivered',
      deliveryStatus: 'UNDELIVERED',
      providerErrorCode: '30003',
      proof: { rawBody: Buffer.from(new URLSearchParams(PARAMS).toString()), signature, keyName: 'current' },
    })
  })

  test('with the token before is read too, and says so', async () => {
    const receipt = await read(PARAMS, { signature: signed(PARAMS, TARGET, PREVIOUS) })
    expect(receipt?.proof.keyName).toBe('previous')
  })

  test('may be signed with the overrides that Twilio was told behind the URL', async () => {
    const signature = signed(PARAMS, `${TARGET}#rc=5&rp=all`)
    expect(await read(PARAMS, { signature })).toMatchObject({ challengeId: CHALLENGE })
    expect(await read(PARAMS, { signature: signed(PARAMS, `${TARGET}#rc=5&rp=ct`) })).toBeUndefined()
  })

  test('is signed over the URL that Twilio was told, at a port of its own too', async () => {
    const publicUrl = 'http://127.0.0.1:8443'
    const reader = twilioMessageReceipts({ ...config, publicUrl })
    const signature = twilioSignature(CURRENT, publicUrl + TARGET, PARAMS)
    expect(await read(PARAMS, { reader, signature })).toMatchObject({ challengeId: CHALLENGE })
  })

  test('without an error code has none', async () => {
    expect((await read(without('ErrorCode')))?.providerErrorCode).toBeUndefined()
    expect((await read({ ...PARAMS, ErrorCode: '' }))?.providerErrorCode).toBeUndefined()
  })

  test('may have its parameters in any order', async () => {
    const body = new URLSearchParams(Object.entries(PARAMS).reverse()).toString()
    expect(await read(PARAMS, { body })).toMatchObject({ vendorStatus: 'undelivered' })
  })

  test.each([
    ['accepted', 'ACCEPTED'],
    ['scheduled', 'ACCEPTED'],
    ['queued', 'ACCEPTED'],
    ['sending', 'ACCEPTED'],
    ['sent', 'SENT'],
    ['delivered', 'DELIVERED'],
    ['read', 'DELIVERED'],
    ['undelivered', 'UNDELIVERED'],
    ['failed', 'UNDELIVERED'],
    ['canceled', 'UNDELIVERED'],
    ['partially-delivered', undefined],
    ['constructor', undefined],
  ])('of a message that is %s means %s', async (MessageStatus, deliveryStatus) => {
    const receipt = await read({ ...PARAMS, MessageStatus })
    expect(receipt).toMatchObject({ provider: 'twilio-sms', vendorStatus: MessageStatus })
    expect(receipt?.deliveryStatus).toBe(deliveryStatus)
  })

  test.each([
    ['queued', 'ACCEPTED'],
    ['initiated', 'SENT'],
    ['ringing', 'SENT'],
    ['in-progress', 'SENT'],
    ['completed', 'UNDELIVERED'],
    ['busy', 'UNDELIVERED'],
    ['no-answer', 'UNDELIVERED'],
    ['failed', 'UNDELIVERED'],
    ['canceled', 'UNDELIVERED'],
    ['delivered', undefined],
  ])('of a call that is %s means %s', async (CallStatus, deliveryStatus) => {
    const receipt = await read({ ...CALL, CallStatus }, { reader: calls, target: CALL_TARGET })
    expect(receipt).toMatchObject({ provider: 'twilio-voice', providerChallengeId: CALL.CallSid })
    expect(receipt?.deliveryStatus).toBe(deliveryStatus)
  })
})

describe('a key that is pressed in a call', () => {
  // As Twilio posts it, with the one name that it writes small.
  const press = (key: string) => ({
    ...CALL,
    CallStatus: 'in-progress',
    Digits: key,
    FinishedOnKey: '',
    FromCity: '',
    ToCity: 'MADRID',
    msg: 'Gather End',
  })

  test('is read as a receipt, with the sealed code that it asks for', async () => {
    expect(await read(press('1'), { reader: keys, target: KEY_TARGET })).toMatchObject({
      challengeId: CHALLENGE,
      attempt: 2,
      provider: 'twilio-voice',
      providerChallengeId: CALL.CallSid,
      vendorStatus: 'key-1',
      deliveryStatus: 'DELIVERED',
      spokenCode: parseSpokenCode(SEALED),
    })
  })

  test.each(['0', '2', '9', '*', '#'])('means nothing when it is %s', async (key) => {
    const receipt = await read(press(key), { reader: keys, target: KEY_TARGET })
    expect(receipt?.vendorStatus).toBe(`key-${key}`)
    expect(receipt?.deliveryStatus).toBeUndefined()
  })

  test('is none when there are two', async () => {
    expect(await read(press('11'), { reader: keys, target: KEY_TARGET })).toBeUndefined()
  })

  test('asks for no code but the one that was signed with it', async () => {
    const signature = signed(press('1'), KEY_TARGET)
    for (const target of [KEY_TARGET.slice(0, -1), KEY_TARGET.replace(/&code.*/, ''), `${KEY_TARGET}A`]) {
      expect(await read(press('1'), { reader: keys, target, signature })).toBeUndefined()
    }
    const moved = { ...press('1'), Digits: '2' }
    expect(await read(moved, { reader: keys, target: KEY_TARGET, signature })).toBeUndefined()
  })

  test('without a code, or with one that is none, asks for nothing', async () => {
    const target = KEY_TARGET.replace(/&code.*/, '')
    for (const each of [target, `${target}&code=x.y`, KEY_TARGET.slice(0, -1)]) {
      expect((await read(press('1'), { reader: keys, target: each }))?.spokenCode).toBeUndefined()
    }
  })
})

describe('no receipt', () => {
  test.each([
    ['is unsigned', undefined],
    ['has an empty signature', ''],
    ['is signed with another token', signed(PARAMS, TARGET, 'another')],
    ['is signed with an empty token', signed(PARAMS, TARGET, '')],
    ['is signed over nothing but the URL', signed({})],
    ['is signed with the right token in another case', signed(PARAMS).toLowerCase()],
  ])('is what %s', async (_, signature) => {
    const headers = { 'x-twilio-signature': signature }
    const rawBody = Buffer.from(new URLSearchParams(PARAMS).toString())
    expect(await messages.read({ target: TARGET, headers, rawBody })).toBeUndefined()
  })

  test('is what is signed with an empty token while there is no previous one, or no token at all', async () => {
    const signature = signed(PARAMS, TARGET, '')
    for (const authTokens of [{ current: CURRENT, previous: '' }, { current: '', previous: '' }, {}]) {
      const reader = twilioMessageReceipts({ ...config, authTokens })
      expect(await read(PARAMS, { reader, signature })).toBeUndefined()
    }
  })

  test.each([
    ['another host', `https://bank.test${TARGET}`],
    ['another scheme', `http://bank.example${TARGET}`],
    ['another path', PUBLIC_URL + CALL_TARGET],
    ['another attempt', PUBLIC_URL + TARGET.replace(/2$/, '1')],
    ['another challenge', PUBLIC_URL + TARGET.replace(CHALLENGE, randomUUID())],
    ['no query', PUBLIC_URL + TARGET.replace(/\?.*/, '')],
  ])('is what was signed for %s', async (_, url) => {
    expect(await read(PARAMS, { signature: twilioSignature(CURRENT, url, PARAMS) })).toBeUndefined()
  })

  test.each([
    ['a changed', new URLSearchParams({ ...PARAMS, MessageStatus: 'delivered' })],
    ['an added', new URLSearchParams({ ...PARAMS, Price: '1' })],
    ['a missing', new URLSearchParams(without('ErrorCode'))],
    ['a doubled', new URLSearchParams([...Object.entries(PARAMS), ['To', PARAMS.To]])],
    ['a doubled and changed', new URLSearchParams([['MessageStatus', 'delivered'], ...Object.entries(PARAMS)])],
  ])('is what has %s parameter', async (_, params) => {
    expect(await read(PARAMS, { body: params.toString() })).toBeUndefined()
  })

  test.each([
    ['the account of someone else', { ...PARAMS, AccountSid: `AC${'0'.repeat(32)}` }],
    ['no account', without('AccountSid')],
    ['no id', without('MessageSid')],
    ['an id that is too short', { ...PARAMS, MessageSid: SID.slice(0, -1) }],
    ['an id that is too long', { ...PARAMS, MessageSid: `${SID}0` }],
    ['an id of other letters', { ...PARAMS, MessageSid: SID.toUpperCase().replace(/.$/, 'F') }],
    ['no status', without('MessageStatus')],
    ['an empty status', { ...PARAMS, MessageStatus: '' }],
    ['a status that is no word', { ...PARAMS, MessageStatus: 'sent to +34600111222' }],
    ['an endless status', { ...PARAMS, MessageStatus: 'a'.repeat(41) }],
    ['a code that is none', { ...PARAMS, ErrorCode: '30003; DROP' }],
  ])('is what has %s, though it is signed', async (_, params) => {
    expect(await read(params)).toBeUndefined()
  })

  test('is what has more than 100 parameters, though it is signed', async () => {
    const more = (count: number) => Object.fromEntries(Array.from({ length: count }, (_, n) => [`Extra${n}`, 'x']))
    const most = 100 - Object.keys(PARAMS).length
    expect(await read({ ...PARAMS, ...more(most) })).toMatchObject({ vendorStatus: 'undelivered' })
    expect(await read({ ...PARAMS, ...more(most + 1) })).toBeUndefined()
  })

  test.each([
    ['no query', ''],
    ['no attempt', `?challenge=${CHALLENGE}`],
    ['attempt 0', `?challenge=${CHALLENGE}&attempt=0`],
    ['attempt 01', `?challenge=${CHALLENGE}&attempt=01`],
    ['attempt 1000', `?challenge=${CHALLENGE}&attempt=1000`],
    ['attempt -1', `?challenge=${CHALLENGE}&attempt=-1`],
    ['an id that is none', '?challenge=------------------------------------&attempt=1'],
    ['an upper-case id', `?challenge=${CHALLENGE.replaceAll(/[0-9]/g, 'a').toUpperCase()}&attempt=1`],
    ['a fragment', `?challenge=${CHALLENGE}&attempt=1#`],
    ['more behind it', `?challenge=${CHALLENGE}&attempt=1&attempt=2`],
    ['the names in another order', `?attempt=1&challenge=${CHALLENGE}`],
  ])('is what comes with %s, though it is signed', async (_, query) => {
    expect(await read(PARAMS, { target: `/webhooks/twilio/messages${query}` })).toBeUndefined()
  })
})
