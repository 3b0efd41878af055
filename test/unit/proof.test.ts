import { expect, test } from 'vitest'
import { keep } from '../../src/providers/proof.ts'
import { TWILIO_HEADERS } from '../../src/providers/twilio/twilio-provider.ts'
import { challengeMessage, PUSH_TOKEN } from '../support/provider-contract.ts'

const AT = new Date('2026-01-02T03:04:05.678Z')
const CODE = '012345'
const PHONE = '+34600111222'
const TOKEN = 'auth-token-8d1f'
const textWith = (code: string) => `Pay 5 € to "A/B" <Ñandú>? Your code: ${code}.`
const BLANKED = textWith('######')

function kept(body: string, headers: Record<string, string> = {}) {
  const said = {
    message: challengeMessage(AT),
    text: textWith(CODE),
    textWith,
    credentials: [TOKEN],
    headers: TWILIO_HEADERS,
  }
  return keep({ status: 201, headers, body }, AT, said)
}

test('the proof is status, time, and the headers that name the exchange', () => {
  const headers = {
    'content-type': 'application/json',
    date: 'Fri, 02 Jan 2026 03:04:05 GMT',
    'twilio-request-id': 'RQ0f0f',
    'x-home-region': 'ie1',
  }
  const others = {
    'set-cookie': 'session=1',
    etag: '"abc"',
    'content-digest': 'sha-256=:abc:',
    location: '/x',
    'x-other': '1',
  }
  expect(kept('{}', { ...headers, ...others }).providerProof).toEqual({
    requestId: 'RQ0f0f',
    httpStatus: 201,
    headers,
    receivedAt: '2026-01-02T03:04:05.678Z',
  })
})

test('a header is cut to 256 characters', () => {
  const { providerProof } = kept('{}', { 'x-request-id': 'x'.repeat(1_000) })
  expect(providerProof).toMatchObject({ requestId: 'x'.repeat(256), headers: { 'x-request-id': 'x'.repeat(256) } })
})

test('a signature is kept with the answer only, as codes could be tried against it', () => {
  const { providerProof, answer } = kept('{}', { date: 'today', 'x-signature': 'c2lnbmVk' })
  expect(JSON.stringify(providerProof)).not.toContain('c2lnbmVk')
  expect(answer.headers).toEqual({ date: 'today', 'x-signature': 'c2lnbmVk' })
})

const SECRETS: [string, string][] = [
  ['the code', CODE],
  ['the phone number', PHONE],
  ['the national number', '600 111 222'],
  ['the push token', PUSH_TOKEN],
  ['a credential', TOKEN],
]

test.each(SECRETS)('a header that repeats %s is left out, however it is written', (_, secret) => {
  for (const value of encodings(`for ${secret} `)) {
    for (const name of ['x-request-id', 'server', 'date', 'signature']) {
      const { providerProof, answer } = kept('{}', { 'twilio-request-id': 'RQ1', [name]: value })
      expect([value, providerProof.headers, answer.headers]).toEqual([
        value,
        { 'twilio-request-id': 'RQ1' },
        { 'twilio-request-id': 'RQ1' },
      ])
    }
  }
})

test('the answer is kept as it came, but for the code in the text that was sent', () => {
  const body = `{ "body": ${JSON.stringify(textWith(CODE))},\n "n": 1.0, "to": "${PHONE}" }`
  expect(kept(body).answer.body).toBe(body.replace(CODE, '######'))
})

test.each([
  ['with every character escaped', (text: string) => [...text].map((char) => `\\u${hex(char)}`).join('')],
  ['with slashes escaped', (text: string) => JSON.stringify(text).slice(1, -1).replaceAll('/', '\\/')],
  ['with all but ASCII escaped', (text: string) => escapedJson(text).toLowerCase()],
])('the text is found in the answer %s', (how, escaped) => {
  const text = how.includes('ASCII') ? textWith(CODE).toLowerCase() : textWith(CODE)
  const said = {
    message: challengeMessage(AT),
    text,
    textWith: (code: string) => text.replace(CODE, code),
    credentials: [TOKEN],
  }
  const { answer } = keep(
    { status: 201, headers: {}, body: `{"sid":"SM1","body":"Trial - ${escaped(text)} ${escaped(text)}"}` },
    AT,
    said,
  )
  const blanked = text.replace(CODE, '######')
  expect(JSON.parse(answer.body ?? '')).toEqual({ sid: 'SM1', body: `Trial - ${blanked} ${blanked}` })
})

test.each([
  ['alone', CODE],
  ['in another text', `code: ${CODE}`],
  ['in the text cut short', textWith(CODE).slice(5)],
  ['in the text as a form has it', new URLSearchParams({ Body: textWith(CODE) }).toString()],
  ['digit by digit', '0, 1, 2, 3, 4, 5'],
  ['in TwiML', `<Say>${[...CODE].join('</Say><Pause length="1"/><Say>')}</Say>`],
  ['by numbers', '%30%31%32%33%34%35'],
  ['in base64', btoa(`code ${CODE}`)],
  ['in hexadecimal', Buffer.from(CODE).toString('hex')],
])('an answer that has the code %s beside the text is kept without its body', (_, elsewhere) => {
  const body = JSON.stringify({ sid: 'SM1', body: textWith(CODE), more: elsewhere })
  expect(kept(body, { date: 'today' }).answer).toEqual({ status: 201, headers: { date: 'today' } })
})

test('an answer that has the code as a number is kept without its body', () => {
  expect(kept('{"sid":"SM1","code":612345}').answer.body).toBeDefined()
  const said = {
    message: challengeMessage(AT, { code: '612345' }),
    text: textWith('612345'),
    textWith,
    credentials: [TOKEN],
  }
  expect(keep({ status: 201, headers: {}, body: '{"sid":"SM1","code":612345}' }, AT, said).answer.body).toBeUndefined()
})

test('an answer that repeats a credential is kept without its body', () => {
  for (const echo of encodings(`AC1:${TOKEN}`)) {
    expect(kept(JSON.stringify({ sid: 'SM1', seen: `Basic ${echo}` })).answer.body).toBeUndefined()
  }
})

test('an answer of more than 16 KiB is kept without its body', () => {
  const ofBytes = (bytes: number) => `{"a":"${'é'.repeat((bytes - 8) / 2)}"}`
  expect(kept(ofBytes(16_384)).answer.body).toBeDefined()
  expect(kept(ofBytes(16_386)).answer.body).toBeUndefined()
})

test('digits of a phone number that are the code are not replaced', () => {
  const said = {
    message: challengeMessage(AT, { code: '600111' }),
    text: textWith('600111'),
    textWith,
    credentials: [TOKEN],
  }
  const body = JSON.stringify({ body: textWith('600111'), to: PHONE })
  // Which leaves the code there, so the body isn't kept.
  expect(keep({ status: 201, headers: {}, body }, AT, said).answer.body).toBeUndefined()
  expect(kept(JSON.stringify({ body: textWith(CODE), to: PHONE })).answer.body).toBe(
    JSON.stringify({ body: BLANKED, to: PHONE }),
  )
})

function encodings(text: string): string[] {
  const bytes = Buffer.from(text)
  return [
    text,
    bytes.toString('base64'),
    bytes.toString('base64url'),
    bytes.toString('hex'),
    encodeURIComponent(text),
    [...bytes].map((byte) => `%${byte.toString(16)}`).join(''),
  ]
}

function hex(char: string): string {
  return char.charCodeAt(0).toString(16).padStart(4, '0')
}

function escapedJson(text: string): string {
  return JSON.stringify(text)
    .slice(1, -1)
    .replaceAll(/[^ -~]/g, (char) => `\\u${hex(char)}`)
}
