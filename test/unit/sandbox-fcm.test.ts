import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import type { Sandbox } from '../../src/sandbox/sandbox.ts'
import { createSandboxAccounts } from '../../src/sandbox/sandbox-accounts.ts'
import {
  accessToken,
  assertion,
  DEVICE,
  grant,
  projectId,
  push,
  SCOPE,
  sandboxOnFreePort,
} from '../support/sandbox-client.ts'

const FCM_ERROR = 'type.googleapis.com/google.firebase.fcm.v1.FcmError'
const BAD_REQUEST = 'type.googleapis.com/google.rpc.BadRequest'
const HOUR = 3_600

let sandbox: Sandbox
let token: string

beforeEach(async () => {
  sandbox = await sandboxOnFreePort()
  token = await accessToken(sandbox)
})
afterEach(async () => {
  vi.restoreAllMocks()
  await sandbox[Symbol.asyncDispose]()
})

interface GoogleError {
  code: number
  message: string
  status: string
  details?: { '@type': string; errorCode?: string; fieldViolations?: { field: string; description: string }[] }[]
}

async function errorOf(response: Response): Promise<GoogleError> {
  expect(response.headers.get('content-type')).toBe('application/json; charset=UTF-8')
  expect(response.headers.get('twilio-request-id')).toBeNull()
  const { error } = (await response.json()) as { error: GoogleError }
  expect(error.code).toBe(response.status)
  return error
}

/** FCM's code and the fields that an error names. */
function detailsOf({ details = [] }: GoogleError): { fcmCode?: string | undefined; fields: string[] } {
  return {
    fcmCode: details.find((detail) => detail['@type'] === FCM_ERROR)?.errorCode,
    fields: details.flatMap((detail) => detail.fieldViolations ?? []).map(({ field }) => field),
  }
}

function seconds(): number {
  return Math.floor(Date.now() / 1_000)
}

async function expectOAuthError(response: Response, status: number, error: string, says: string): Promise<void> {
  expect(await response.json()).toEqual({ error, error_description: expect.stringContaining(says) })
  expect(response.status).toBe(status)
}

describe('an access token', () => {
  test('is given for a signed assertion, for an hour, and is no call that sends', async () => {
    const response = await grant(sandbox)
    expect(response.status).toBe(200)
    expect(await response.json()).toEqual({
      access_token: expect.stringMatching(/^ya29\.\S{20,}$/),
      expires_in: 3_599,
      token_type: 'Bearer',
    })
    expect([sandbox.calls, sandbox.messages]).toEqual([[], []])
  })

  test('is another each time, and each is good', async () => {
    const other = await accessToken(sandbox)
    expect(other).not.toBe(token)
    expect((await push(sandbox, token)).status).toBe(200)
    expect((await push(sandbox, other)).status).toBe(200)
  })

  test('is refused to whoever asks in another way', async () => {
    const form = { grant_type: 'client_credentials' }
    await expectOAuthError(await grant(sandbox, form), 400, 'unsupported_grant_type', 'client_credentials')
    expect((await fetch(`${sandbox.url}/token`)).status).toBe(404)
  })

  test('is given for several scopes when the right one is among them', async () => {
    const scope = `https://www.googleapis.com/auth/cloud-platform ${SCOPE}`
    expect((await grant(sandbox, { assertion: await assertion(sandbox, { scope }) })).status).toBe(200)
  })

  test.each<[string, Record<string, unknown>, string, string]>([
    ['another account', { iss: 'somebody@else.test' }, 'invalid_grant', 'account not found'],
    ['no account', { iss: undefined }, 'invalid_grant', 'account not found'],
    ['another audience', { aud: 'https://oauth2.googleapis.com/token' }, 'invalid_grant', 'audience'],
    ['another scope', { scope: 'https://www.googleapis.com/auth/cloud-platform' }, 'invalid_scope', 'scope'],
    ['a scope that only begins right', { scope: `${SCOPE}.readonly` }, 'invalid_scope', 'scope'],
    ['no scope', { scope: undefined }, 'invalid_scope', 'scope'],
    ['no time of issue', { iat: undefined }, 'invalid_grant', 'short-lived'],
    ['no end', { exp: undefined }, 'invalid_grant', 'short-lived'],
    ['an end in the past', { iat: seconds() - HOUR - 60, exp: seconds() - 60 }, 'invalid_grant', 'short-lived'],
    ['an end before its start', { iat: seconds() + 200, exp: seconds() + 100 }, 'invalid_grant', 'short-lived'],
    ['a life over an hour', { iat: seconds() - 10, exp: seconds() - 10 + HOUR + 1 }, 'invalid_grant', 'short-lived'],
    ['a start in the future', { iat: seconds() + 600, exp: seconds() + 1_200 }, 'invalid_grant', 'short-lived'],
  ])('is refused to an assertion of %s', async (_, claims, error, says) => {
    await expectOAuthError(await grant(sandbox, { assertion: await assertion(sandbox, claims) }), 400, error, says)
  })

  test('is given to an assertion whose clock is a little ahead', async () => {
    const claims = { iat: seconds() + 120, exp: seconds() + 120 + HOUR }
    expect((await grant(sandbox, { assertion: await assertion(sandbox, claims) })).status).toBe(200)
  })

  test('is refused to an assertion that another key, or another algorithm, signed', async () => {
    const { fcm } = await createSandboxAccounts()
    const forged = await assertion(sandbox, {}, { key: fcm.privateKey })
    await expectOAuthError(await grant(sandbox, { assertion: forged }), 400, 'invalid_grant', 'Signature')
    const other = await assertion(sandbox, {}, { alg: 'RS512' })
    await expectOAuthError(await grant(sandbox, { assertion: other }), 400, 'invalid_grant', 'Signature')
    const [, claims] = (await assertion(sandbox)).split('.')
    const none = `${Buffer.from('{"alg":"none"}').toString('base64url')}.${claims}.`
    await expectOAuthError(await grant(sandbox, { assertion: none }), 400, 'invalid_grant', 'Signature')
  })

  test.each(['', 'rubbish', 'a.b.c'])('is refused to the assertion «%s», without a word', async (unreadable) => {
    await expectOAuthError(await grant(sandbox, { assertion: unreadable }), 400, 'invalid_request', 'Bad Request')
  })

  test('is wanted for the address under which the sandbox was asked', async () => {
    const url = sandbox.url.replace('127.0.0.1', 'localhost')
    const claims = { aud: `${url}/token` }
    const form = {
      grant_type: 'urn:ietf:params:oauth:grant-type:jwt-bearer',
      assertion: await assertion(sandbox, claims),
    }
    const ask = (at: string) => fetch(`${at}/token`, { method: 'POST', body: new URLSearchParams(form) })
    expect((await ask(url)).status).toBe(200)
    expect((await ask(sandbox.url)).status).toBe(400)
  })

  test('is good until the tokens expire, and a new one is good again', async () => {
    expect((await push(sandbox, token)).status).toBe(200)
    sandbox.expireTokens()
    expect((await push(sandbox, token)).status).toBe(401)
    expect((await push(sandbox, await accessToken(sandbox))).status).toBe(200)
  })

  test('is good for an hour by itself', async () => {
    const now = Date.now()
    vi.spyOn(Date, 'now').mockReturnValue(now + 3_590_000)
    expect((await push(sandbox, token)).status).toBe(200)
    vi.spyOn(Date, 'now').mockReturnValue(now + 3_601_000)
    expect((await push(sandbox, token)).status).toBe(401)
  })

  test('outlives the messages', async () => {
    sandbox.clear()
    expect((await push(sandbox, token)).status).toBe(200)
  })
})

describe('a push', () => {
  test('is answered with its name, and kept with its data', async () => {
    const response = await push(sandbox, token, { data: { code: '123456', signature_id: 's1' } })
    expect(response.status).toBe(200)
    expect(response.headers.get('content-type')).toBe('application/json; charset=UTF-8')
    const { name } = (await response.json()) as { name: string }
    expect(name).toMatch(new RegExp(`^projects/${projectId}/messages/\\d:\\d+%[0-9a-f]+$`))
    expect(sandbox.messages).toEqual([
      {
        sid: name,
        provider: 'fcm-push',
        to: DEVICE,
        from: projectId,
        body: '{"code":"123456","signature_id":"s1"}',
        status: 'accepted',
        created_at: expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/),
      },
    ])
    expect(sandbox.calls[0]).toMatchObject({
      provider: 'fcm-push',
      json: { message: { token: DEVICE, data: { code: '123456' } } },
    })
    expect(sandbox.calls[0]?.headers).not.toHaveProperty('authorization')
  })

  test.each([
    ['a topic', { token: undefined, topic: 'news' }, '/topics/news'],
    ['a condition', { token: undefined, condition: "'a' in topics" }, "'a' in topics"],
  ])('to %s is kept as one', async (_, message, to) => {
    expect((await push(sandbox, token, message)).status).toBe(200)
    expect(sandbox.messages[0]?.to).toBe(to)
  })

  test.each([
    ['no data', { data: undefined }],
    ['options for Android', { android: { ttl: '300s', priority: 'HIGH' } }],
    ['the longest life', { android: { ttl: '2419200s', priority: 'normal' } }],
    ['a life of a fraction', { android: { ttl: '0.5s' } }],
    ['options for Apple', { apns: { headers: { 'apns-priority': '10' }, payload: { aps: { alert: 'Hi' } } } }],
    ['a notification', { notification: { title: 'Sign', body: 'Open the app' } }],
    ['a key that only looks reserved', { data: { from_bank: 'x', my_google: 'x' } }],
    ['4096 bytes of data', { data: { code: 'é'.repeat(2_046) } }],
    ['2048 bytes of data to a topic', { token: undefined, topic: 'news', data: { code: 'a'.repeat(2_044) } }],
  ])('with %s is sent', async (_, message) => {
    expect((await push(sandbox, token, message)).status).toBe(200)
    expect(sandbox.messages).toHaveLength(1)
  })

  test.each([
    ['is gone', 'unregistered-1', 404, 'NOT_FOUND', { fcmCode: 'UNREGISTERED', fields: [] }],
    ['is none', 'invalid-1', 400, 'INVALID_ARGUMENT', { fcmCode: 'INVALID_ARGUMENT', fields: ['message.token'] }],
    ['is another sender’s', 'mismatch-1', 403, 'PERMISSION_DENIED', { fcmCode: 'SENDER_ID_MISMATCH', fields: [] }],
  ])('to a token that %s is refused', async (_, device, code, status, details) => {
    const error = await errorOf(await push(sandbox, token, { token: device }))
    expect(error).toMatchObject({ code, status, message: expect.stringMatching(/./) })
    expect(detailsOf(error)).toEqual(details)
    expect(sandbox.messages).toEqual([])
    expect(sandbox.calls).toHaveLength(1)
  })

  test.each([
    ['a number in its data', { data: { code: '1', tries: 12 } }, ['message.data[1].value']],
    ['null in its data', { data: { code: null } }, ['message.data[0].value']],
    ['a list for its data', { data: ['1'] }, ['message.data']],
    ['a reserved key', { data: { from: 'x' } }, ['message.data']],
    ['another reserved key', { data: { message_type: 'x' } }, ['message.data']],
    ["a key of Google's", { data: { 'google.c': 'x' } }, ['message.data']],
    ["a key of GCM's", { data: { 'gcm.n': 'x' } }, ['message.data']],
    ['4097 bytes of data', { data: { code: `${'é'.repeat(2_046)}a` } }, []],
    ['2049 bytes of data to a topic', { token: undefined, topic: 'news', data: { code: 'a'.repeat(2_045) } }, []],
    ['no recipient', { token: undefined }, ['message']],
    ['an empty token', { token: '' }, ['message']],
    ['a token that is no text', { token: 12 }, ['message.token']],
    ['two recipients', { topic: 'news' }, ['message']],
    ['a field that FCM has not got', { body: 'Hi' }, ['message']],
    ['too long a life', { android: { ttl: '2419201s' } }, ['message.android.ttl']],
    ['a life without a unit', { android: { ttl: '300' } }, ['message.android.ttl']],
    ['an unknown priority', { android: { priority: 'urgent' } }, ['message.android.priority']],
    ['options for Android that are none', { android: 'high' }, ['message.android']],
    ['options for Apple that are none', { apns: 'high' }, ['message.apns']],
    ["a number among Apple's headers", { apns: { headers: { 'apns-priority': 10 } } }, ['message.apns']],
    ["text for Apple's payload", { apns: { payload: 'Hi' } }, ['message.apns']],
  ])('with %s is refused with the field', async (_, message, fields) => {
    const error = await errorOf(await push(sandbox, token, message))
    expect(error).toMatchObject({ code: 400, status: 'INVALID_ARGUMENT', message: expect.stringMatching(/./) })
    expect(detailsOf(error).fields).toEqual(fields)
    expect(sandbox.messages).toEqual([])
    expect(sandbox.calls).toHaveLength(1)
  })

  test('with a number in its data is told so in the words of FCM', async () => {
    const description = "Invalid value at 'message.data[0].value' (TYPE_STRING), 12"
    expect(await (await push(sandbox, token, { data: { tries: 12 } })).json()).toEqual({
      error: {
        code: 400,
        message: description,
        status: 'INVALID_ARGUMENT',
        details: [{ '@type': BAD_REQUEST, fieldViolations: [{ field: 'message.data[0].value', description }] }],
      },
    })
  })

  test.each([
    ['no message', { request: {} }],
    ['a field beside the message that FCM has not got', { request: { message: { token: DEVICE }, dry_run: true } }],
    ['a list', { request: [] }],
    ['JSON that breaks off', { body: '{"message":' }],
  ])('in %s is refused', async (_, init) => {
    const error = await errorOf(await push(sandbox, token, {}, init))
    expect(error).toMatchObject({ code: 400, status: 'INVALID_ARGUMENT' })
    expect(sandbox.calls).toHaveLength(1)
  })

  test('over 64 KiB is refused before it counts as a call', async () => {
    const response = await push(sandbox, token, { data: { code: 'a'.repeat(65_536) } })
    expect((await errorOf(response)).code).toBe(413)
    expect(sandbox.calls).toEqual([])
  })

  test.each([
    ['no token', {}],
    ['an unknown token', { authorization: 'Bearer ya29.unknown' }],
    ['another scheme', { authorization: 'Basic eDp5' }],
  ])('with %s is refused, is not counted and uses up no fault', async (_, authorization: Record<string, string>) => {
    sandbox.failNext({ status: 503 })
    const headers = { 'content-type': 'application/json', ...authorization }
    const response = await push(sandbox, token, {}, { headers })
    expect(response.headers.get('www-authenticate')).toContain('Bearer')
    const error = await errorOf(response)
    expect(error).toMatchObject({ code: 401, status: 'UNAUTHENTICATED' })
    expect(detailsOf(error).fcmCode).toBeUndefined()
    expect(sandbox.calls).toEqual([])
    expect((await push(sandbox, token)).status).toBe(503)
  })

  test('to another project is denied', async () => {
    const error = await errorOf(await push(sandbox, token, {}, { path: '/v1/projects/other/messages:send' }))
    expect(error).toMatchObject({ code: 403, status: 'PERMISSION_DENIED' })
    expect(detailsOf(error).fcmCode).toBeUndefined()
    expect(sandbox.messages).toEqual([])
  })

  test('to an unknown path, or by another method, finds nothing', async () => {
    const unknown = await push(sandbox, token, {}, { path: `/v1/projects/${projectId}/messages` })
    expect((await errorOf(unknown)).code).toBe(404)
    const path = `/v1/projects/${projectId}/messages:send`
    expect((await fetch(sandbox.url + path, { headers: { authorization: `Bearer ${token}` } })).status).toBe(404)
    expect(sandbox.calls).toEqual([])
  })
})

describe('a push that is only to be validated', () => {
  const message = { token: DEVICE, data: { code: '123456' } }

  test.each([{ validate_only: true }, { validateOnly: true }])('by %o leaves nothing behind', async (only) => {
    sandbox.failNext({ status: 500 })
    const response = await push(sandbox, token, {}, { request: { ...only, message } })
    expect(response.status).toBe(200)
    expect(await response.json()).toEqual({ name: `projects/${projectId}/messages/fake_message_id` })
    expect([sandbox.messages, sandbox.calls]).toEqual([[], []])
    expect((await push(sandbox, token)).status).toBe(500)
  })

  test('is refused as if it were to be sent', async () => {
    const request = { validate_only: true, message: { ...message, token: 'unregistered-1' } }
    expect((await errorOf(await push(sandbox, token, {}, { request }))).status).toBe('NOT_FOUND')
    expect((await push(sandbox, 'unknown', {}, { request })).status).toBe(401)
    expect(sandbox.calls).toEqual([])
  })

  test('is sent when it says that it is not', async () => {
    await push(sandbox, token, {}, { request: { validate_only: false, message } })
    expect(sandbox.messages).toHaveLength(1)
  })
})

describe('a fault', () => {
  test.each<[string, { status: number; code?: string | number }, string, string | undefined]>([
    ['503', { status: 503 }, 'UNAVAILABLE', 'UNAVAILABLE'],
    ['500', { status: 500 }, 'INTERNAL', 'INTERNAL'],
    ['429', { status: 429 }, 'RESOURCE_EXHAUSTED', 'QUOTA_EXCEEDED'],
    ['404', { status: 404 }, 'NOT_FOUND', 'UNREGISTERED'],
    ['403', { status: 403 }, 'PERMISSION_DENIED', 'SENDER_ID_MISMATCH'],
    ['401', { status: 401 }, 'UNAUTHENTICATED', undefined],
    ['418', { status: 418 }, 'UNKNOWN', undefined],
    ['500 and UNAVAILABLE', { status: 500, code: 'UNAVAILABLE' }, 'UNAVAILABLE', 'UNAVAILABLE'],
    ['403 and PERMISSION_DENIED', { status: 403, code: 'PERMISSION_DENIED' }, 'PERMISSION_DENIED', undefined],
    [
      '401 and a code of FCM',
      { status: 401, code: 'THIRD_PARTY_AUTH_ERROR' },
      'UNAUTHENTICATED',
      'THIRD_PARTY_AUTH_ERROR',
    ],
    ["503 and another vendor's code", { status: 503, code: 21614 }, 'UNAVAILABLE', 'UNAVAILABLE'],
  ])('of %s is told as FCM tells it', async (_, fault, status, fcmCode) => {
    sandbox.failNext(fault)
    const error = await errorOf(await push(sandbox, token))
    expect(error).toMatchObject({ code: fault.status, status })
    expect(detailsOf(error).fcmCode).toBe(fcmCode)
    expect(sandbox.messages).toEqual([])
    expect((await push(sandbox, token)).status).toBe(200)
  })

  test('of a body has the status of success', async () => {
    sandbox.failNext({ body: '{}' })
    const response = await push(sandbox, token)
    expect([response.status, await response.text()]).toEqual([200, '{}'])
  })

  test('for anybody is not for the access token', async () => {
    sandbox.failNext({ status: 503 })
    expect((await grant(sandbox)).status).toBe(200)
    expect((await push(sandbox, token)).status).toBe(503)
  })

  test.each([
    ['500', { status: 500 }, 'internal_failure'],
    ['400', { status: 400 }, 'invalid_grant'],
    ['429', { status: 429 }, 'rate_limit_exceeded'],
    ['401 and a code', { status: 401, code: 'invalid_client' }, 'invalid_client'],
  ])('of %s for the access token is told as Google tells it, and spares the push', async (_, fault, error) => {
    sandbox.failNext({ provider: 'fcm-token', ...fault })
    expect((await push(sandbox, token)).status).toBe(200)
    await expectOAuthError(await grant(sandbox), fault.status, error, 'Simulated')
    expect((await grant(sandbox)).status).toBe(200)
  })
})
