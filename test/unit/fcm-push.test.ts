import { generateKeyPairSync } from 'node:crypto'
import { describe, expect, test } from 'vitest'
import { createFcmPush } from '../../src/providers/fcm/fcm-push.ts'
import {
  challengeMessage,
  failureOf,
  never,
  PUSH_TOKEN,
  providerContract,
  type Setting,
  useSandbox,
} from '../support/provider-contract.ts'

interface FcmMessage {
  token: string
  data: Record<string, string>
  android: { ttl: string }
}

/** The sandbox takes no assertion from another time than its own. */
const NOW = new Date()
const FCM_ERROR = 'type.googleapis.com/google.firebase.fcm.v1.FcmError'
const BAD_REQUEST = 'type.googleapis.com/google.rpc.BadRequest'
const { privateKey: otherKey } = generateKeyPairSync('rsa', { modulusLength: 2_048 })

providerContract({
  name: 'fcm-push',
  channel: 'PUSH',
  create,
  withWrongSecret: (accounts) => ({
    ...accounts,
    fcm: { ...accounts.fcm, privateKey: otherKey.export({ type: 'pkcs8', format: 'pem' }).toString() },
  }),
  recipient: PUSH_TOKEN,
  told({ json }) {
    const { token, data, android } = (json as { message: FcmMessage }).message
    return {
      recipient: token,
      shown: `${data.text} ${data.code}`,
      validSeconds: Number(/^(\d+)s$/.exec(android.ttl)?.[1]),
    }
  },
  text: ({ json }) => JSON.stringify(json),
  validSeconds: (left) => left,
  id: /^projects\/sandbox-[0-9a-f]+\/messages\/0:\d+%[0-9a-f]+$/,
  refused: { message: { pushToken: 'invalid-token' }, providerErrorCode: 'INVALID_ARGUMENT' },
  // Trying again gets another access token.
  unauthorized: 'transient',
})

const started = useSandbox()

describe('a message', () => {
  test('holds data for the app, and for iOS an alert without the code that the app may add to', async () => {
    const expiresAt = new Date(NOW.getTime() + 120_000)
    await push().sendChallenge(challengeMessage(NOW, { expiresAt, leftMs: () => 120_000 }), never())

    expect(started().sandbox.calls.map(({ json }) => json)).toEqual([
      {
        message: {
          token: PUSH_TOKEN,
          data: {
            signature_id: '019b0000-0000-7000-8000-000000000001',
            challenge_id: '019b0000-0000-7000-8000-000000000002',
            amount: '1,234.50 EUR',
            payee: 'ACME Ltd',
            account: '1332',
            text: 'Pay 1,234.50 EUR to "ACME Ltd", account ...1332?',
            code: '012345',
            expires_at: expiresAt.toISOString(),
          },
          android: { priority: 'HIGH', ttl: '120s' },
          apns: {
            headers: {
              'apns-push-type': 'alert',
              'apns-priority': '10',
              'apns-expiration': String(Math.floor(expiresAt.getTime() / 1_000)),
            },
            payload: {
              aps: { alert: { body: 'Pay 1,234.50 EUR to "ACME Ltd", account ...1332?' }, 'mutable-content': 1 },
            },
          },
        },
      },
    ])
  })

  test.each([undefined, ''])(
    'for a customer whose app has no token (%o) is none: the recipient can not be reached',
    async (pushToken) => {
      const error = await failureOf(push().sendChallenge(challengeMessage(NOW, { pushToken }), never()))

      expect(error).toMatchObject({
        provider: 'fcm-push',
        providerErrorCode: 'NO_PUSH_TOKEN',
        failureClass: 'recipient',
      })
      expect(started().sandbox.calls).toEqual([])
    },
  )
})

describe('an answer of FCM', () => {
  test.each([
    { pushToken: 'unregistered-1', providerErrorCode: 'UNREGISTERED', failureClass: 'recipient' },
    { pushToken: 'invalid-1', providerErrorCode: 'INVALID_ARGUMENT', failureClass: 'recipient' },
    { pushToken: 'mismatch-1', providerErrorCode: 'SENDER_ID_MISMATCH', failureClass: 'pair' },
  ])('to the token $pushToken is $failureClass', async ({ pushToken, ...expected }) => {
    const error = await failureOf(push().sendChallenge(challengeMessage(NOW, { pushToken }), never()))

    expect(error).toMatchObject(expected)
  })

  test.each([
    { http: 400, status: 'INVALID_ARGUMENT', details: [fcmError('INVALID_ARGUMENT')], failureClass: 'recipient' },
    { http: 400, status: 'INVALID_ARGUMENT', details: [badField('message.token')], failureClass: 'recipient' },
    { http: 400, status: 'INVALID_ARGUMENT', details: [badField('message.data[0].value')], failureClass: 'pair' },
    {
      http: 400,
      status: 'INVALID_ARGUMENT',
      details: [fcmError('INVALID_ARGUMENT'), badField('message.android.ttl')],
      failureClass: 'pair',
    },
    {
      http: 400,
      status: 'INVALID_ARGUMENT',
      details: [badField('message.token'), badField('message.android.ttl')],
      failureClass: 'pair',
    },
    { http: 400, status: 'INVALID_ARGUMENT', details: undefined, failureClass: 'pair' },
    { http: 403, status: 'PERMISSION_DENIED', details: undefined, failureClass: 'ours' },
    { http: 404, status: 'NOT_FOUND', details: undefined, failureClass: 'ours' },
    { http: 500, status: 'INTERNAL', details: [fcmError('INTERNAL')], failureClass: 'transient' },
    { http: 503, status: 'UNAVAILABLE', details: [fcmError('UNAVAILABLE')], failureClass: 'transient' },
    { http: 401, status: 'UNAUTHENTICATED', details: undefined, failureClass: 'transient' },
  ])('with $http $status $details is $failureClass', async ({ http, status, details, failureClass }) => {
    const body = JSON.stringify({ error: { code: http, status, message: 'secret', details } })
    started().sandbox.failNext({ provider: 'fcm-push', status: http, body })

    expect(await failureOf(sent())).toMatchObject({ providerErrorCode: status, failureClass })
  })

  test.each([
    { http: 404, status: 'NOT_FOUND', errorCode: 'UNREGISTERED', failureClass: 'recipient' },
    { http: 401, status: 'UNAUTHENTICATED', errorCode: 'THIRD_PARTY_AUTH_ERROR', failureClass: 'ours' },
    { http: 429, status: 'RESOURCE_EXHAUSTED', errorCode: 'QUOTA_EXCEEDED', failureClass: 'transient' },
  ])('is known by its own code $errorCode, not by $status', async ({ http, status, errorCode, failureClass }) => {
    const body = JSON.stringify({ error: { code: http, status, details: [{}, null, fcmError(errorCode)] } })
    started().sandbox.failNext({ provider: 'fcm-push', status: http, body })

    expect(await failureOf(sent())).toMatchObject({ providerErrorCode: errorCode, failureClass })
  })

  test.each([
    '{"error":"oops"}',
    '{"error":{"status":7}}',
    '{"error":{"status":"Not A Code"}}',
    '{"error":{"details":{}}}',
  ])('that has no code that could be one is known by its status: %s', async (body) => {
    started().sandbox.failNext({ provider: 'fcm-push', status: 403, body })

    expect(await failureOf(sent())).toMatchObject({ providerErrorCode: 'HTTP_403', failureClass: 'ours' })
  })

  test('with 429 that does not say how long to wait asks for the minute that Google recommends', async () => {
    started().sandbox.failNext({ provider: 'fcm-push', status: 429 })

    expect(await failureOf(sent())).toMatchObject({ providerErrorCode: 'QUOTA_EXCEEDED', retryAfterMs: 60_000 })
  })
})

test('the next call after an access token was refused gets another', async () => {
  const { sandbox } = started()
  const provider = push()
  await provider.sendChallenge(challengeMessage(NOW), never())
  sandbox.expireTokens()

  expect(await failureOf(provider.sendChallenge(challengeMessage(NOW), never()))).toMatchObject({
    providerErrorCode: 'UNAUTHENTICATED',
    failureClass: 'transient',
  })
  await provider.sendChallenge(challengeMessage(NOW), never())
  expect(sandbox.messages).toHaveLength(2)
})

test('the provider is available again once a refused access token is replaced', async () => {
  const provider = push()
  expect(await provider.isAvailable(never())).toBe(true)
  started().sandbox.expireTokens()

  expect(await provider.isAvailable(never())).toBe(false)
  expect(await provider.isAvailable(never())).toBe(true)
})

test("the provider is not available to a project that is not the service account's", async () => {
  const { accounts } = started()
  const other = { ...accounts, fcm: { ...accounts.fcm, projectId: 'another' } }

  expect(await push({ accounts: other }).isAvailable(never())).toBe(false)
})

function create({ accounts, apiUrl, ...setting }: Setting) {
  const credentials = { type: 'service_account' as const, ...accounts.fcm, tokenUri: `${apiUrl}/token` }
  return createFcmPush({ credentials, projectId: accounts.fcm.projectId, apiUrl, ...setting })
}

function push(setting: Partial<Setting> = {}) {
  const { sandbox, accounts } = started()
  return create({ accounts, apiUrl: sandbox.url, timeoutMs: 5_000, clock: () => NOW, ...setting })
}

function sent() {
  return push().sendChallenge(challengeMessage(NOW), never())
}

function fcmError(errorCode: string) {
  return { '@type': FCM_ERROR, errorCode }
}

function badField(field: string) {
  return { '@type': BAD_REQUEST, fieldViolations: [{ field, description: 'secret' }] }
}
