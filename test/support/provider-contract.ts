import { inspect } from 'node:util'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import type { Channel } from '../../src/domain/challenge.ts'
import { type ChallengeMessage, ProviderError, type SignatureProvider } from '../../src/providers/provider.ts'
import { type Sandbox, type SimulatedCall, startSandbox } from '../../src/sandbox/sandbox.ts'
import { createSandboxAccounts, type SandboxAccounts } from '../../src/sandbox/sandbox-accounts.ts'

/** What an adapter is made with, whoever's it is. */
export interface Setting {
  accounts: SandboxAccounts
  /** Where the sandbox is. */
  apiUrl: string
  timeoutMs: number
  clock: () => Date
}

/** What the suite must know of one adapter. */
export interface ProviderContract {
  name: 'twilio-sms' | 'twilio-voice' | 'vonage-sms' | 'fcm-push'
  channel: Channel
  create(setting: Setting): SignatureProvider
  /** The accounts, with a secret in them that the vendor doesn't know. */
  withWrongSecret(accounts: SandboxAccounts): SandboxAccounts
  /** The recipient of {@link challengeMessage} as the vendor is told of them. */
  recipient: string
  /** What the vendor was told in a call; `shown` is what the customer reads or hears, with the code's digits together. */
  told(call: SimulatedCall): { recipient: unknown; shown: string; validSeconds: number }
  /** The text that the vendor is told in a call, which its answer may repeat; a phone call's has the code sealed. */
  text(call: SimulatedCall): string
  /** How long the vendor is told that it may try, when the code has this long left. */
  validSeconds(secondsLeft: number): number
  /** What the provider's id of a message looks like. */
  id: RegExp
  /** A message whose recipient the vendor refuses, and its code for that. */
  refused: { message: Partial<ChallengeMessage>; providerErrorCode: string }
  /** What the vendor's 401 means. */
  unauthorized: 'ours' | 'transient'
}

export const PUSH_TOKEN = 'push-token-of-the-app'
const PHONE = '+34600111222'
const CODE = '012345'
const TIMEOUT_MS = 5_000

/** A message to send; its code has five minutes left at `now`. */
export function challengeMessage(now: Date, fields: Partial<ChallengeMessage> = {}): ChallengeMessage {
  return {
    signatureId: '019b0000-0000-7000-8000-000000000001',
    challengeId: '019b0000-0000-7000-8000-000000000002',
    attempt: 1,
    phone: PHONE,
    pushToken: PUSH_TOKEN,
    code: CODE,
    transaction: {
      amount: { currency: 'EUR', units: 1234n, nanos: 500_000_000 },
      payeeName: 'ACME Ltd',
      payeeAccount: 'ES9121000418450200051332',
      transactionType: 'SEPA_CREDIT_TRANSFER',
      reference: 'Invoice 7',
    },
    locale: 'en',
    expiresAt: new Date(now.getTime() + 300_000),
    leftMs: () => 300_000,
    ...fields,
  }
}

/** A signal that nobody fires. */
export function never(): AbortSignal {
  return new AbortController().signal
}

/** The error that a call ends with. */
export async function failureOf(call: Promise<unknown>): Promise<ProviderError> {
  const error = await call.catch((thrown: unknown) => thrown)
  if (!(error instanceof ProviderError)) throw new Error('expected a ProviderError', { cause: error })
  return error
}

/** A sandbox of all vendors for the tests of a file, forgetful after each. */
export function useSandbox(): () => { sandbox: Sandbox; accounts: SandboxAccounts } {
  let started: { sandbox: Sandbox; accounts: SandboxAccounts }
  beforeAll(async () => {
    const accounts = await createSandboxAccounts()
    started = { sandbox: await startSandbox({ host: '127.0.0.1', port: 0, ...accounts }), accounts }
  })
  afterEach(() => {
    started.sandbox.clear()
    started.sandbox.expireTokens()
  })
  afterAll(() => started.sandbox[Symbol.asyncDispose]())
  return () => started
}

/** What every adapter promises: see SignatureProvider, and the classes of failures in src/domain/delivery.ts. */
export function providerContract(contract: ProviderContract): void {
  const { name } = contract
  const now = new Date()
  const started = useSandbox()

  function adapter(setting: Partial<Setting> = {}): SignatureProvider {
    const { sandbox, accounts } = started()
    return contract.create({ accounts, apiUrl: sandbox.url, timeoutMs: TIMEOUT_MS, clock: () => now, ...setting })
  }
  function send(fields: Partial<ChallengeMessage> = {}, signal = never()) {
    return adapter().sendChallenge(challengeMessage(now, fields), signal)
  }
  function told() {
    const [call, ...others] = started().sandbox.calls
    expect(others).toEqual([])
    return contract.told(call ?? expect.unreachable('nothing was received'))
  }
  async function closedPort(): Promise<string> {
    const { accounts } = started()
    const sandbox = await startSandbox({ host: '127.0.0.1', port: 0, ...accounts })
    await sandbox[Symbol.asyncDispose]()
    return sandbox.url
  }

  test('says who it is, for which channel, and how long a call may take', () => {
    expect(adapter()).toMatchObject({ name, channel: contract.channel, timeoutMs: TIMEOUT_MS })
  })

  describe('a message', () => {
    test.each([
      { locale: 'en-GB', says: /^Pay 1,234\.50 .*ACME Ltd.*012345/s },
      { locale: 'es-ES', says: /^¿?Pagar 1234,50 .*ACME Ltd.*012345/s },
      { locale: 'de', says: /^Pay 1,234\.50 .*ACME Ltd.*012345/s },
    ])('tells the recipient in $locale of amount, payee and then code', async ({ locale, says }) => {
      await send({ locale })

      const { recipient, shown } = told()
      expect(recipient).toBe(contract.recipient)
      expect(shown).toMatch(says)
      // The code comes after all else that is told before it for the first time.
      expect(shown.indexOf(CODE)).toBeGreaterThan(shown.indexOf('ACME Ltd'))
    })

    test.each([300, 89, 5, 0, -60])(
      'is tried no longer than the vendor must, its code having %i seconds left',
      async (left) => {
        // Almost a second more: a vendor is told whole seconds, and none that the code doesn't have.
        await send({ leftMs: () => left * 1_000 + 999 })

        expect(told().validSeconds).toBe(contract.validSeconds(Math.max(0, left)))
      },
    )

    test('that was taken comes with its id, the time, and a proof of the exchange that tells no secret', async () => {
      const { answer, ...result } = await send()

      const { sandbox } = started()
      expect(sandbox.messages).toHaveLength(1)
      expect(result).toEqual({
        providerChallengeId: sandbox.messages[0]?.sid,
        sentAt: now,
        providerProof: {
          requestId:
            result.providerProof.headers['x-request-id'] ?? result.providerProof.headers['twilio-request-id'] ?? null,
          httpStatus: expect.toSatisfy((status) => status >= 200 && status < 300),
          headers: expect.objectContaining({ 'content-type': expect.stringContaining('json') }),
          receivedAt: now.toISOString(),
        },
      })
      expect(result.providerChallengeId).toMatch(contract.id)
      expectNoSecret(result)
      expect(answer).toMatchObject({
        status: result.providerProof.httpStatus,
        body: expect.stringContaining(String(result.providerChallengeId)),
      })
      expect(answer.body).not.toContain(CODE)
    })

    test.each([
      { what: 'repeats what was sent', keeps: true, also: (told: string) => ({ told }) },
      { what: 'has the code elsewhere too', keeps: false, also: (told: string) => ({ told, code: CODE }) },
    ])('that was taken is kept without its code, as the answer $what', async ({ keeps, also }) => {
      const { providerChallengeId: id } = await send()
      const [call = expect.unreachable()] = started().sandbox.calls
      const sent = contract.text(call)
      const echo = (text: string) =>
        JSON.stringify({ sid: id, message_uuid: id, name: id, ...also(`Trial account - ${text}`) })
      started().sandbox.failNext({ provider: name, body: echo(sent), status: 200 })

      const { answer } = await send()

      const blanked = sent.replaceAll(CODE, '######').replaceAll(/>[0-9]</g, '>#<')
      expect(blanked).not.toContain(CODE)
      expect([answer.status, answer.body]).toEqual([200, keeps ? echo(blanked) : undefined])
    })
  })

  describe('a failure', () => {
    test('to connect is transient', async () => {
      const apiUrl = await closedPort()
      const error = await failureOf(adapter({ apiUrl }).sendChallenge(challengeMessage(now), never()))

      expect(error).toMatchObject({ provider: name, failureClass: 'transient', providerErrorCode: 'ECONNREFUSED' })
    })

    test('by 429 is transient, and says how long to wait', async () => {
      started().sandbox.failNext({ provider: name, status: 429, retryAfterSeconds: 2 })

      expect(await failureOf(send())).toMatchObject({ failureClass: 'transient', retryAfterMs: 2_000 })
    })

    test.each([500, 502, 503])('by %i is transient', async (status) => {
      started().sandbox.failNext({ provider: name, status })

      expect(await failureOf(send())).toMatchObject({ failureClass: 'transient', retryAfterMs: undefined })
    })

    test('by 503 says how long to wait, when the vendor does', async () => {
      started().sandbox.failNext({ provider: name, status: 503, retryAfterSeconds: 3 })

      expect(await failureOf(send())).toMatchObject({ failureClass: 'transient', retryAfterMs: 3_000 })
    })

    test.each([
      { why: 'time running out', reason: new DOMException('', 'TimeoutError'), providerErrorCode: 'TIMEOUT' },
      { why: 'whoever waits giving up', reason: undefined, providerErrorCode: 'ABORTED' },
    ])('by $why before an answer leaves it unknown whether it was sent', async ({ reason, providerErrorCode }) => {
      const { sandbox } = started()
      const giveUp = new AbortController()
      sandbox.failNext({ provider: name, hang: true })
      const received = sandbox.nextCall()
      const failed = failureOf(send({}, giveUp.signal))
      await received
      giveUp.abort(reason)

      expect(await failed).toMatchObject({ failureClass: 'unknown', providerErrorCode })
    })

    test('by a reset after the request leaves it unknown whether it was sent', async () => {
      started().sandbox.failNext({ provider: name, reset: true })

      expect(await failureOf(send())).toMatchObject({ failureClass: 'unknown', providerErrorCode: 'ECONNRESET' })
    })

    test('of the recipient is one', async () => {
      const { message, providerErrorCode } = contract.refused

      expect(await failureOf(send(message))).toMatchObject({ failureClass: 'recipient', providerErrorCode })
      expect(started().sandbox.messages).toEqual([])
    })

    test(`by 401 is ${contract.unauthorized}`, async () => {
      started().sandbox.failNext({ provider: name, status: 401 })

      expect(await failureOf(send())).toMatchObject({ failureClass: contract.unauthorized })
    })

    test('of our credentials is ours', async () => {
      const accounts = contract.withWrongSecret(started().accounts)
      const error = await failureOf(adapter({ accounts }).sendChallenge(challengeMessage(now), never()))

      expect(error).toMatchObject({ failureClass: 'ours' })
      expectNoSecret(error, accounts)
    })

    test.each([403, 409, 410])('by %i that says nothing more is ours', async (status) => {
      started().sandbox.failNext({ provider: name, status, body: '{}' })

      expect(await failureOf(send())).toMatchObject({ failureClass: 'ours' })
    })

    test.each(['', 'null', '[]', '"x"', '<html>'])(
      'by 400 says nothing of the provider when the answer is %o and says nothing more',
      async (body) => {
        started().sandbox.failNext({ provider: name, status: 400, body })

        expect(await failureOf(send())).toMatchObject({ failureClass: 'pair', providerErrorCode: 'HTTP_400' })
      },
    )

    test('by a redirect is ours: it is not followed', async () => {
      const { sandbox } = started()
      sandbox.failNext({ provider: name, redirect: `${sandbox.url}/elsewhere` })

      expect(await failureOf(send())).toMatchObject({ failureClass: 'ours', providerErrorCode: 'HTTP_307' })
      expect(sandbox.messages).toEqual([])
      expect(sandbox.calls).toHaveLength(1)
    })

    test.each([
      { what: 'is no JSON', body: 'not json' },
      { what: 'is empty', body: '' },
      { what: 'is null', body: 'null' },
      { what: 'is no object', body: '[]' },
      { what: 'has no id', body: '{}' },
      { what: 'has an empty id', body: '{"sid":"","message_uuid":"","name":""}' },
      { what: 'has a number for an id', body: '{"sid":7,"message_uuid":7,"name":7}' },
      { what: 'has something else for an id', body: '{"sid":"\\u0000","message_uuid":"\\u0000","name":"\\u0000"}' },
    ])('to prove what was taken, as the answer $what, is unproven', async ({ body }) => {
      started().sandbox.failNext({ provider: name, body })

      expect(await failureOf(send())).toMatchObject({ failureClass: 'unproven', providerErrorCode: 'UNUSABLE_BODY' })
    })

    test('to prove what was taken, as the answer is over 64 KiB, is unproven', async () => {
      started().sandbox.failNext({ provider: name, body: 'x'.repeat(64 * 1_024 + 1) })

      expect(await failureOf(send())).toMatchObject({ failureClass: 'unproven', providerErrorCode: 'BODY_TOO_LARGE' })
    })

    test('to prove what was taken, as the answer comes in drops, is unproven', async () => {
      const provider = adapter()
      // So that nothing but the answer takes time.
      await provider.isAvailable(never())
      started().sandbox.failNext({ provider: name, drip: true })

      const error = await failureOf(provider.sendChallenge(challengeMessage(now), AbortSignal.timeout(1_000)))

      expect(error).toMatchObject({ failureClass: 'unproven', providerErrorCode: 'TIMEOUT' })
    })

    test('because nobody waits any more is transient: nothing is called', async () => {
      const { sandbox } = started()
      const error = await failureOf(send({}, AbortSignal.abort()))

      expect(error).toMatchObject({ failureClass: 'transient', providerErrorCode: 'ABORTED' })
      expect(sandbox.calls).toEqual([])
    })

    test.each([
      { what: 'a refusal that repeats what was sent', status: 400 },
      { what: 'a failure that repeats what was sent', status: 500 },
      { what: 'an answer that repeats what was sent and no id', status: 200 },
    ])('tells no secret after $what', async ({ status }) => {
      const { sandbox, accounts } = started()
      const secrets = {
        all: [...secretsOf(accounts), challengeMessage(now)],
        code: CODE,
        message: CODE,
        type: `#${CODE}`,
      }
      const body = inspectable(secrets)
      sandbox.failNext({ provider: name, status, body })

      expectNoSecret(await failureOf(send()))
    })

    test('by a reset tells no secret', async () => {
      started().sandbox.failNext({ provider: name, reset: true })

      expectNoSecret(await failureOf(send()))
    })
  })

  describe('the provider is available', () => {
    test('when it would serve us, which is asked without a message', async () => {
      expect(await adapter().isAvailable(never())).toBe(true)

      const { messages, calls } = started().sandbox
      expect([...messages, ...calls]).toEqual([])
    })

    test('not with wrong credentials', async () => {
      const accounts = contract.withWrongSecret(started().accounts)

      expect(await adapter({ accounts }).isAvailable(never())).toBe(false)
    })

    test('not when nobody answers', async () => {
      expect(await adapter({ apiUrl: await closedPort() }).isAvailable(never())).toBe(false)
    })

    test('not for whoever has given up', async () => {
      expect(await adapter().isAvailable(AbortSignal.abort())).toBe(false)
    })
  })

  function expectNoSecret(value: unknown, accounts = started().accounts): void {
    const told = [inspect(value, { depth: null, showHidden: true }), inspectable(value)].join()
    for (const secret of [...secretsOf(accounts), CODE, PHONE.slice(1), PUSH_TOKEN, 'ACME']) {
      expect(told).not.toContain(secret)
    }
  }
}

function inspectable(value: unknown): string {
  return JSON.stringify(value, (_, part) => (typeof part === 'bigint' ? String(part) : part))
}

/** What may stand nowhere but in a call to the vendor, as it is and as it is sent. */
function secretsOf({ twilio, vonage, fcm }: SandboxAccounts): string[] {
  const basic = (user: string, password: string) => Buffer.from(`${user}:${password}`).toString('base64')
  return [
    twilio.authToken,
    basic(twilio.accountSid, twilio.authToken),
    vonage.apiSecret,
    basic(vonage.apiKey, vonage.apiSecret),
    fcm.privateKey.slice(100, 140),
    'ya29.',
    'Bearer ',
    'eyJ',
  ]
}
