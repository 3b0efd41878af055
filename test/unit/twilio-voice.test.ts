import { randomBytes } from 'node:crypto'
import { expect, test } from 'vitest'
import { unseal } from '../../src/domain/sealed.ts'
import { parseSpokenCode, spokenCodePlace } from '../../src/domain/spoken-code.ts'
import { createTwilioVoice } from '../../src/providers/twilio/twilio-voice.ts'
import type { WebhookUrl } from '../../src/providers/webhook-url.ts'
import { challengeMessage, failureOf, never, providerContract, useSandbox } from '../support/provider-contract.ts'

const PII_KEYS = { currentId: 'p1', byId: new Map([['p1', randomBytes(32)]]) }
const SETTING = {
  previousAuthToken: undefined,
  apiKey: undefined,
  voiceFrom: '+15005550005',
  piiKeys: () => PII_KEYS,
  webhookUrl: (path: string, { challengeId, attempt, spokenCode }: Parameters<WebhookUrl>[1]) =>
    `https://bank.example${path}?challenge=${challengeId}&attempt=${attempt}${spokenCode ? `&code=${spokenCode}` : ''}`,
}
const NOW = new Date('2026-01-02T03:04:05.678Z')

providerContract({
  name: 'twilio-voice',
  channel: 'VOICE',
  create: ({ accounts, ...setting }) => createTwilioVoice({ ...accounts.twilio, ...SETTING, ...setting }),
  withWrongSecret: (accounts) => ({ ...accounts, twilio: { ...accounts.twilio, authToken: 'wrong' } }),
  recipient: '+34600111222',
  told: ({ form }) => ({
    recipient: form.get('To'),
    shown: `${spoken(form.get('Twiml') ?? '')}${codeIn(form.get('Twiml') ?? '')}`,
    validSeconds: Number(form.get('Timeout')),
  }),
  text: ({ form }) => form.get('Twiml') ?? '',
  // It rings no longer than 20 seconds, lest a mailbox answers, and no shorter than 1.
  validSeconds: (left) => Math.min(20, Math.max(1, left)),
  id: /^CA[0-9a-f]{32}$/,
  refused: { message: { phone: '+15005550001' }, providerErrorCode: '21217' },
  unauthorized: 'ours',
})

const started = useSandbox()

test('a call is one form to the account, with what is said in it, but for the code', async () => {
  await voice().sendChallenge(challengeMessage(NOW), never())

  const [call] = started().sandbox.calls
  expect(call).toMatchObject({ provider: 'twilio-voice' })
  const { Twiml, ...form } = Object.fromEntries(call?.form ?? [])
  expect(form).toEqual({
    To: '+34600111222',
    From: '+15005550005',
    Timeout: '20',
    StatusCallback: expect.stringMatching(
      /^https:\/\/bank\.example\/webhooks\/twilio\/calls\?challenge=[\w-]+&attempt=1#rc=5&rp=all$/,
    ),
    StatusCallbackEvent: 'completed',
  })
  expect(JSON.stringify(call)).not.toContain('012345')
  expect(Twiml).toMatch(/^<Response><Gather .*><Say language="en-GB">Pay 1,234\.50 euros to the payee named:<\/Say>/)
})

test.each([
  { code: 13223, failureClass: 'recipient', why: 'the number has not the format of one' },
  { code: 13224, failureClass: 'recipient', why: 'the number is not supported' },
  { code: 13225, failureClass: 'pair', why: 'the number is blocked' },
  { code: 13226, failureClass: 'recipient', why: 'the country code is unknown' },
  { code: 13227, failureClass: 'pair', why: 'the region is not permitted' },
  { code: 21202, failureClass: 'recipient', why: 'the number is a premium one' },
  { code: 21203, failureClass: 'pair', why: 'calls abroad are not permitted' },
  { code: 21211, failureClass: 'recipient', why: 'the number is not valid' },
  { code: 21214, failureClass: 'recipient', why: 'the number can not be reached' },
  { code: 21215, failureClass: 'pair', why: 'the region is not permitted' },
  { code: 21216, failureClass: 'pair', why: 'the number is blocked' },
  { code: 21217, failureClass: 'recipient', why: 'the number does not look valid' },
  { code: 20003, failureClass: 'ours', why: 'our credentials are wrong' },
  { code: 21201, failureClass: 'ours', why: 'we named no number' },
  { code: 21205, failureClass: 'ours', why: 'our address is not valid' },
  { code: 21208, failureClass: 'pair', why: 'our timeout is not valid' },
  { code: 21210, failureClass: 'ours', why: 'our number is not verified' },
  { code: 21212, failureClass: 'ours', why: 'our number is not valid' },
  { code: 21213, failureClass: 'ours', why: 'we named no number of ours' },
  { code: 21219, failureClass: 'pair', why: 'our account is on trial' },
])('$code is $failureClass: $why', async ({ code, failureClass }) => {
  started().sandbox.failNext({ provider: 'twilio-voice', status: 400, code })

  const error = await failureOf(voice().sendChallenge(challengeMessage(NOW), never()))

  expect(error).toMatchObject({ provider: 'twilio-voice', providerErrorCode: String(code), failureClass })
})

function voice() {
  const { sandbox, accounts } = started()
  return createTwilioVoice({
    ...accounts.twilio,
    ...SETTING,
    apiUrl: sandbox.url,
    timeoutMs: 5_000,
    clock: () => NOW,
  })
}

/** The code in the URL that a key leads to, as only the service can read it. */
function codeIn(twiml: string): string {
  const [, challengeId = '', code = ''] = /challenge=(.*?)&amp;attempt=1&amp;code=(.*?)[#"]/.exec(twiml) ?? []
  return unseal(PII_KEYS, parseSpokenCode(code) ?? expect.unreachable(), spokenCodePlace(challengeId))
}

/** What is heard before a key is pressed. */
function spoken(twiml: string): string {
  return twiml.replaceAll(/<[^>]*>/g, '')
}
