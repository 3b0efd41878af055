import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { describe, expect, test } from 'vitest'
import { createTwilioSms, type TwilioSmsConfig } from '../../src/providers/twilio/twilio-sms.ts'
import { startSandbox } from '../../src/sandbox/sandbox.ts'
import { challengeMessage, failureOf, never, providerContract, useSandbox } from '../support/provider-contract.ts'

const NO_RECEIPTS = { previousAuthToken: undefined, apiKey: undefined, webhookUrl: undefined }
const NOW = new Date('2026-01-02T03:04:05.678Z')

providerContract({
  name: 'twilio-sms',
  channel: 'SMS',
  create: ({ accounts, ...setting }) => createTwilioSms({ ...accounts.twilio, ...NO_RECEIPTS, ...setting }),
  withWrongSecret: (accounts) => ({ ...accounts, twilio: { ...accounts.twilio, authToken: 'wrong' } }),
  recipient: '+34600111222',
  told: ({ form }) => ({
    recipient: form.get('To'),
    shown: form.get('Body') ?? '',
    validSeconds: Number(form.get('ValidityPeriod')),
  }),
  text: ({ form }) => form.get('Body') ?? '',
  // Twilio takes no less than 1.
  validSeconds: (left) => Math.max(1, left),
  id: /^SM[0-9a-f]{32}$/,
  refused: { message: { phone: '+15005550001' }, providerErrorCode: '21211' },
  unauthorized: 'ours',
})

const started = useSandbox()

describe('a message', () => {
  test('is one form to the account', async () => {
    await sms().sendChallenge(challengeMessage(NOW), never())

    const [call] = started().sandbox.calls
    expect(call).toMatchObject({ headers: { 'content-type': 'application/x-www-form-urlencoded' } })
    expect(Object.fromEntries(call?.form ?? [])).toEqual({
      To: '+34600111222',
      From: '+15005550006',
      Body: 'Pay 1,234.50 EUR to "ACME Ltd", account ...1332? Your code to sign: 012345. Valid for 5 min. Never share it.',
      ValidityPeriod: '300',
    })
  })

  test.each([
    ['242', { From: '242' }],
    ['A+B & C-D_E', { From: 'A+B & C-D_E' }],
    [`MG${'0a'.repeat(16)}`, { MessagingServiceSid: `MG${'0a'.repeat(16)}` }],
  ])('is sent from %s', async (fromNumber, sender) => {
    await sms({ fromNumber }).sendChallenge(challengeMessage(NOW), never())

    const { To, Body, ValidityPeriod, ...others } = Object.fromEntries(started().sandbox.calls[0]?.form ?? [])
    expect(others).toEqual(sender)
    expect(started().sandbox.messages[0]).toMatchObject({ from: fromNumber })
  })

  test('says how long its code is valid', async () => {
    await sms().sendChallenge(challengeMessage(NOW, { leftMs: () => 89_999 }), never())

    expect(started().sandbox.calls[0]?.form.get('Body')).toContain('Valid for 89 s.')
  })

  test('goes to where the settings say, under a path if need be', async () => {
    const { accounts } = started()
    const paths: (string | undefined)[] = []
    const server = createServer((request, response) => {
      paths.push(request.url)
      response.writeHead(201).end(JSON.stringify({ sid: `SM${'1'.repeat(32)}` }))
    }).listen(0, '127.0.0.1')
    await once(server, 'listening')
    const apiUrl = `http://127.0.0.1:${(server.address() as AddressInfo).port}/twilio`

    await sms({ apiUrl }).sendChallenge(challengeMessage(NOW), never())

    expect(paths).toEqual([`/twilio/2010-04-01/Accounts/${accounts.twilio.accountSid}/Messages.json`])
    server.closeAllConnections()
    server.close()
  })
})

describe('an answer of Twilio', () => {
  test.each([
    { status: 400, code: 21211, failureClass: 'recipient', why: 'the number is not valid' },
    { status: 400, code: 21217, failureClass: 'recipient', why: 'the number does not look valid' },
    { status: 400, code: 21265, failureClass: 'recipient', why: 'the number is a short code' },
    { status: 403, code: 21408, failureClass: 'pair', why: 'our account may not send to the region' },
    { status: 400, code: 21266, failureClass: 'pair', why: 'the number is our own' },
    { status: 400, code: 21608, failureClass: 'pair', why: 'our account is on trial' },
    { status: 400, code: 21610, failureClass: 'recipient', why: 'the recipient opted out' },
    { status: 400, code: 21612, failureClass: 'pair', why: 'our number does not reach it' },
    { status: 400, code: 21617, failureClass: 'pair', why: 'the text is too long' },
    { status: 400, code: 21614, failureClass: 'recipient', why: 'the number is no mobile' },
    { status: 400, code: 21635, failureClass: 'recipient', why: 'the number is a landline' },
    { status: 401, code: 20003, failureClass: 'ours', why: 'our credentials are wrong' },
    { status: 400, code: 21212, failureClass: 'ours', why: 'our sender is not valid' },
    { status: 400, code: 21606, failureClass: 'ours', why: 'our sender sends no texts' },
    { status: 400, code: 99999, failureClass: 'pair', why: 'this message is refused for a reason unknown to us' },
    { status: 403, code: 99999, failureClass: 'ours', why: 'we may not, for a reason unknown to us' },
    { status: 429, code: 20429, failureClass: 'transient', why: 'too many calls were made' },
    { status: 429, code: 14107, failureClass: 'pair', why: 'too much was sent to this number' },
    { status: 429, code: 21611, failureClass: 'ours', why: "our sender's queue is full" },
    { status: 429, code: 63038, failureClass: 'ours', why: "our account's messages of this day are used up" },
    { status: 500, code: 20500, failureClass: 'transient', why: 'something broke' },
    { status: 500, code: 21614, failureClass: 'transient', why: 'something broke, whatever its code says' },
    { status: 503, code: 20503, failureClass: 'transient', why: 'it is overloaded' },
  ])('with $status and $code is $failureClass: $why', async ({ status, code, failureClass }) => {
    started().sandbox.failNext({ provider: 'twilio-sms', status, code })

    const error = await failureOf(sms().sendChallenge(challengeMessage(NOW), never()))

    expect(error).toMatchObject({ provider: 'twilio-sms', providerErrorCode: String(code), failureClass })
  })

  test('whose code is no number has none', async () => {
    started().sandbox.failNext({ provider: 'twilio-sms', status: 400, body: '{"code":"21614"}' })

    const error = await failureOf(sms().sendChallenge(challengeMessage(NOW), never()))

    expect(error).toMatchObject({ providerErrorCode: 'HTTP_400', failureClass: 'pair' })
  })

  test.each(['{"sid":"SM1"}', '{"sid":"sm11111111111111111111111111111111"}'])('%s has no SID', async (body) => {
    started().sandbox.failNext({ provider: 'twilio-sms', body })

    const error = await failureOf(sms().sendChallenge(challengeMessage(NOW), never()))

    expect(error).toMatchObject({ providerErrorCode: 'UNUSABLE_BODY', failureClass: 'unproven' })
  })
})

test.each([
  { status: 200, account: { status: 'active' }, available: true },
  { status: 200, account: { status: 'suspended' }, available: false },
  { status: 200, account: '<html>', available: false },
  { status: 500, account: { status: 'active' }, available: false },
])('an account that is $status $account is available: $available', async ({ status, account, available }) => {
  const { accountSid } = started().accounts.twilio
  const received: (string | undefined)[] = []
  const server = createServer((request, response) => {
    received.push(`${request.method} ${request.url}`)
    response
      .writeHead(status)
      .end(typeof account === 'string' ? account : JSON.stringify({ sid: accountSid, ...account }))
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const apiUrl = `http://127.0.0.1:${(server.address() as AddressInfo).port}`

  expect(await sms({ apiUrl }).isAvailable(never())).toBe(available)
  expect(received).toEqual([`GET /2010-04-01/Accounts/${accountSid}.json`])
  server.closeAllConnections()
  server.close()
})

describe('with an API key', () => {
  const apiKey = { sid: `SK${'1'.repeat(32)}`, secret: 'the-secret-of-the-key' }
  const webhookUrl = () => 'https://bank.example/webhooks/twilio/messages'

  async function useKey(call: (apiUrl: string) => Promise<void>) {
    const { twilio, ...others } = started().accounts
    const accounts = { ...others, twilio: { ...twilio, apiKey } }
    await using sandbox = await startSandbox({ host: '127.0.0.1', port: 0, receipts: 'none', ...accounts })
    await call(sandbox.url)
    return sandbox.calls.map(({ form }) => form)
  }

  test('messages are sent with it, and reported while there is an auth token to check the reports with', async () => {
    const calls = await useKey(async (apiUrl) => {
      const provider = sms({ apiUrl, apiKey, webhookUrl })
      expect(provider.reportsDelivery).toBe(true)
      await provider.sendChallenge(challengeMessage(NOW), never())
    })
    expect(calls.map((form) => form.get('StatusCallback'))).toEqual([expect.stringContaining(webhookUrl())])
  })

  test('and without an auth token they are sent and no report is asked for', async () => {
    const calls = await useKey(async (apiUrl) => {
      const provider = sms({ apiUrl, apiKey, authToken: undefined, webhookUrl })
      expect(provider.reportsDelivery).toBe(false)
      await provider.sendChallenge(challengeMessage(NOW), never())
    })
    expect(calls.map((form) => form.get('StatusCallback'))).toEqual([null])
  })

  test('the account is available, though a key may not read it', async () => {
    await useKey(async (apiUrl) => {
      expect(await sms({ apiUrl, apiKey }).isAvailable(never())).toBe(true)
      const wrong = { ...apiKey, secret: 'another' }
      expect(await sms({ apiUrl, apiKey: wrong }).isAvailable(never())).toBe(false)
      expect(
        await failureOf(sms({ apiUrl, apiKey: wrong }).sendChallenge(challengeMessage(NOW), never())),
      ).toMatchObject({
        providerErrorCode: '20003',
        failureClass: 'ours',
      })
    })
  })
})

function sms(fields: Partial<TwilioSmsConfig> = {}) {
  const { sandbox, accounts } = started()
  return createTwilioSms({
    ...accounts.twilio,
    ...NO_RECEIPTS,
    apiUrl: sandbox.url,
    timeoutMs: 5_000,
    clock: () => NOW,
    ...fields,
  })
}
