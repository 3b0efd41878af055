import { randomBytes, randomUUID } from 'node:crypto'
import twilio from 'twilio'
import { expect, test } from 'vitest'
import { twilioMessageReceipts } from '../../src/providers/twilio/twilio-receipts.ts'
import { twilioSignature, twilioText } from '../support/webhooks.ts'

/** Twilio signs URL, names and values one after the other with nothing between them. */
const PUBLIC_URL = 'https://bank.example'
const TOKEN = randomBytes(16).toString('hex')
const ACCOUNT = `AC${randomBytes(16).toString('hex')}`
const SID = `SM${randomBytes(16).toString('hex')}`
const TARGET = `/webhooks/twilio/messages?challenge=${randomUUID()}&attempt=12`
const PARAMS: Record<string, string> = {
  AccountSid: ACCOUNT,
  ApiVersion: '2010-04-01',
  ErrorCode: '30003',
  From: 'BanK',
  MessageSid: SID,
  MessageStatus: 'undelivered',
  SmsSid: SID,
  SmsStatus: 'undelivered',
  To: '+34600111222',
}
const SIGNATURE = twilioSignature(TOKEN, PUBLIC_URL + TARGET, PARAMS)
const reader = twilioMessageReceipts({ accountSid: ACCOUNT, authTokens: { current: TOKEN }, publicUrl: PUBLIC_URL })

function read(target: string, params: Record<string, string>) {
  const rawBody = Buffer.from(new URLSearchParams(params).toString())
  return reader.read({ target, headers: { 'x-twilio-signature': SIGNATURE }, rawBody })
}

/** The parameters, but for some names; undefined leaves one out. */
function changed(changes: Record<string, string | undefined>): Record<string, string> {
  const entries = Object.entries({ ...PARAMS, ...changes })
  return Object.fromEntries(entries.filter((entry): entry is [string, string] => entry[1] !== undefined))
}

/** The parameters before this name. */
function upTo(name: string): Record<string, string> {
  return Object.fromEntries(Object.entries(PARAMS).filter(([each]) => each < name))
}

/** What is signed after this name. */
function after(name: string): string {
  return twilioText('', PARAMS).split(name).slice(1).join(name)
}

test('what Twilio said is read', async () => {
  expect(await read(TARGET, PARAMS)).toMatchObject({ attempt: 12, vendorStatus: 'undelivered' })
})

test.each([
  ['from the URL into the first name', TARGET.slice(0, -1), changed({ AccountSid: undefined, '2AccountSid': ACCOUNT })],
  ['from the first name into the URL', `${TARGET}A`, { ccountSid: after('AccountSid') }],
  ['of the first name into the URL', `${TARGET}AccountSid${ACCOUNT}`, changed({ AccountSid: undefined })],
  ['from the name of the code into its value', TARGET, changed({ ErrorCode: undefined, Error: 'Code30003' })],
  ['from a value into its name', TARGET, changed({ MessageSid: undefined, [`MessageSid${SID}`]: '' })],
  ['from a value into the next name', TARGET, changed({ From: 'Ban', MessageSid: undefined, KMessageSid: SID })],
  ['from a name into the value before', TARGET, { ...upTo('From'), From: 'BanKM', essageSid: after('MessageSid') }],
  [
    'of the code into the value before',
    TARGET,
    changed({ ApiVersion: '2010-04-01ErrorCode30003', ErrorCode: undefined }),
  ],
  [
    'of the status into names behind it',
    TARGET,
    changed({
      MessageStatus: 'undelivere',
      SmsSid: undefined,
      SmsStatus: undefined,
      To: undefined,
      d: `SmsSid${SID}SmsStatusundeliveredTo+34600111222`,
    }),
  ],
  [
    'of the status into the value of another',
    TARGET,
    changed({ MessageSid: `${SID}MessageStatusundelivered`, MessageStatus: undefined }),
  ],
  ['of everything into one value', TARGET, { A: twilioText('', PARAMS).slice(1) }],
  ['of everything into the URL', TARGET + twilioText('', PARAMS), {}],
])('letters moved %s are refused, under a signature that is right', async (_, target, params) => {
  // Keys are sorted, so that a name that sorts elsewhere makes another text; each of these makes the same.
  const isSameText = twilioText(target, params) === twilioText(TARGET, PARAMS)
  expect(isSameText && twilio.validateRequest(TOKEN, SIGNATURE, PUBLIC_URL + target, params)).toBe(true)
  expect(await read(target, params)).toBeUndefined()
})
