import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { describe, expect, test } from 'vitest'
import { accountUrl, createVonageSms } from '../../src/providers/vonage/vonage-sms.ts'
import { challengeMessage, failureOf, never, providerContract, useSandbox } from '../support/provider-contract.ts'

const NOW = new Date('2026-01-02T03:04:05.678Z')

providerContract({
  name: 'vonage-sms',
  channel: 'SMS',
  create: ({ accounts, ...setting }) => createVonageSms({ ...accounts.vonage, webhookUrl: undefined, ...setting }),
  withWrongSecret: (accounts) => ({
    ...accounts,
    vonage: { ...accounts.vonage, webhookUrl: undefined, apiSecret: 'wrong' },
  }),
  recipient: '34600111222',
  told: ({ json }) => {
    const { to, text, ttl } = json as { to: string; text: string; ttl: number }
    return { recipient: to, shown: text, validSeconds: ttl }
  },
  text: ({ json }) => (json as { text: string }).text,
  // Vonage takes no less than 20.
  validSeconds: (left) => Math.max(20, left),
  id: /^[0-9a-f-]{36}$/,
  refused: { message: { phone: '+1' }, providerErrorCode: '1430' },
  unauthorized: 'ours',
})

const started = useSandbox()

test('a message is one JSON object, known by the challenge and in the alphabet that fits a segment', async () => {
  await vonage().sendChallenge(challengeMessage(NOW), never())

  expect(started().sandbox.calls).toMatchObject([
    { provider: 'vonage-sms', headers: { 'content-type': 'application/json' } },
  ])
  expect(started().sandbox.calls[0]?.json).toEqual({
    message_type: 'text',
    channel: 'sms',
    to: '34600111222',
    from: 'Bank',
    text: 'Pay 1,234.50 EUR to "ACME Ltd", account ...1332? Your code to sign: 012345. Valid for 5 min. Never share it.',
    ttl: 300,
    client_ref: '019b0000-0000-7000-8000-000000000002.1',
    sms: { encoding_type: 'text' },
  })
})

test('a sender that is a number is named without its plus', async () => {
  await vonage({ from: '+34600999888' }).sendChallenge(challengeMessage(NOW), never())

  expect(started().sandbox.messages).toMatchObject([{ from: '34600999888' }])
})

describe('an answer of Vonage', () => {
  test.each([
    { status: 422, code: 1050, failureClass: 'pair', why: 'the number is blocked by Vonage' },
    { status: 422, code: 1170, failureClass: 'recipient', why: 'the number is not valid' },
    { status: 422, code: 1240, failureClass: 'recipient', why: 'the number is illegal or opted out' },
    { status: 422, code: 1430, failureClass: 'recipient', why: 'the number gets no texts' },
    { status: 422, code: 1000, failureClass: 'transient', why: 'too much was sent' },
    { status: 422, code: 1030, failureClass: 'transient', why: 'something broke' },
    { status: 429, code: 'throttled', failureClass: 'transient', why: 'too many calls were made' },
    { status: 500, code: 1170, failureClass: 'transient', why: 'something broke, whatever its code says' },
    { status: 401, code: 'unauthorized', failureClass: 'ours', why: 'our credentials are wrong' },
    { status: 402, code: 'low-balance', failureClass: 'ours', why: 'our account is empty' },
    { status: 403, code: 'forbidden', failureClass: 'ours', why: 'we may not' },
    { status: 422, code: 1060, failureClass: 'ours', why: 'our account is barred' },
    { status: 422, code: 1070, failureClass: 'ours', why: 'our quota is used up' },
    { status: 422, code: 1120, failureClass: 'pair', why: 'our sender is not accepted where the number is' },
    { status: 422, code: 1130, failureClass: 'pair', why: 'the ttl is not valid' },
    { status: 422, code: 1160, failureClass: 'pair', why: 'our account is on trial' },
    { status: 429, code: 1241, failureClass: 'pair', why: 'too much was sent to this number' },
    { status: 422, code: 'constructor', failureClass: 'pair', why: 'it is no code of theirs' },
    { status: 403, code: 'constructor', failureClass: 'ours', why: 'we may not, and it is no code of theirs' },
  ])('with $status and $code is $failureClass: $why', async ({ status, code, failureClass }) => {
    const body = JSON.stringify({ type: `https://developer.vonage.com/api-errors/messages#${code}`, title: 'secret' })
    started().sandbox.failNext({ provider: 'vonage-sms', status, body })

    const error = await failureOf(vonage().sendChallenge(challengeMessage(NOW), never()))

    expect(error).toMatchObject({ provider: 'vonage-sms', providerErrorCode: String(code), failureClass })
  })

  test.each(['https://developer.vonage.com/api-errors', '#', 7])('of type %o has no code', async (type) => {
    started().sandbox.failNext({ provider: 'vonage-sms', status: 422, body: JSON.stringify({ type }) })

    const error = await failureOf(vonage().sendChallenge(challengeMessage(NOW), never()))

    expect(error).toMatchObject({ providerErrorCode: 'HTTP_422', failureClass: 'pair' })
  })
})

describe('an account', () => {
  test.each([
    { status: 200, body: '{"value":0.01,"autoReload":false}', available: true },
    { status: 200, body: '{"value":0,"autoReload":false}', available: false },
    { status: 200, body: '{"value":-3}', available: false },
    { status: 200, body: '{}', available: false },
    { status: 200, body: '<html>', available: false },
    { status: 500, body: '{"value":10}', available: false },
  ])('of which Vonage says $status $body: available is $available', async ({ status, body, available }) => {
    const received: (string | undefined)[] = []
    const server = createServer((request, response) => {
      received.push(`${request.method} ${request.url}`)
      response.writeHead(status).end(body)
    }).listen(0, '127.0.0.1')
    await once(server, 'listening')
    const apiUrl = `http://127.0.0.1:${(server.address() as AddressInfo).port}`

    expect(await vonage({ apiUrl }).isAvailable(never())).toBe(available)
    expect(received).toEqual(['GET /account/get-balance'])
    server.closeAllConnections()
    server.close()
  })

  test.each([
    ['https://api.nexmo.com', 'https://rest.nexmo.com'],
    ['https://api-eu.nexmo.com', 'https://rest.nexmo.com'],
    ['https://api-us.vonage.com', 'https://rest.nexmo.com'],
    ['https://egress.bank.example/vonage', 'https://egress.bank.example/vonage'],
    ['http://127.0.0.1:8025', 'http://127.0.0.1:8025'],
  ])('of messages to %s is asked for at %s', (apiUrl, expected) => {
    expect(accountUrl(apiUrl)).toBe(expected)
  })
})

function vonage(fields: { from?: string; apiUrl?: string } = {}) {
  const { sandbox, accounts } = started()
  return createVonageSms({
    ...accounts.vonage,
    webhookUrl: undefined,
    apiUrl: sandbox.url,
    timeoutMs: 5_000,
    clock: () => NOW,
    ...fields,
  })
}
