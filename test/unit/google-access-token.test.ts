import { createPublicKey, generateKeyPairSync } from 'node:crypto'
import { once } from 'node:events'
import { createServer, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { text } from 'node:stream/consumers'
import { jwtVerify } from 'jose'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { type AccessTokens, createAccessTokens } from '../../src/providers/fcm/google-access-token.ts'
import { failureOf, never } from '../support/provider-contract.ts'

const NOW = new Date('2026-01-02T03:04:05.678Z')
const PEM = { type: 'pkcs8', format: 'pem' } as const
const privateKey = generateKeyPairSync('rsa', { modulusLength: 2_048 }).privateKey.export(PEM).toString()

/** What the token endpoint received, and how it answers; it numbers its tokens. */
let forms: URLSearchParams[]
let answer: (response: ServerResponse) => void
let now: Date
let tokenUri: string
let tokens: AccessTokens
let close: () => void

beforeEach(async () => {
  forms = []
  now = NOW
  answer = (response) => grant(response, `token-${forms.length}`)
  const server = createServer(async (request, response) => {
    forms.push(new URLSearchParams(await text(request)))
    answer(response)
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  close = () => {
    server.close()
    server.closeAllConnections()
  }
  tokenUri = `http://127.0.0.1:${(server.address() as AddressInfo).port}/token`
  tokens = accessTokens()
})
afterEach(() => close())

test('is granted for an assertion that the service account signed: RFC 7523', async () => {
  expect(await tokens.get(never())).toBe('token-1')

  const [form] = forms
  expect(form?.get('grant_type')).toBe('urn:ietf:params:oauth:grant-type:jwt-bearer')
  const { payload, protectedHeader } = await jwtVerify(form?.get('assertion') ?? '', createPublicKey(privateKey), {
    currentDate: NOW,
  })
  expect(protectedHeader).toEqual({ alg: 'RS256', typ: 'JWT' })
  const issuedAt = Math.floor(NOW.getTime() / 1_000)
  expect(payload).toEqual({
    iss: 'router@bank.example',
    scope: 'the-scope',
    aud: tokenUri,
    iat: issuedAt,
    exp: issuedAt + 3_600,
  })
})

test('is used until a minute before it ends', async () => {
  await tokens.get(never())
  now = new Date(NOW.getTime() + 3_540_000 - 1)
  expect(await tokens.get(never())).toBe('token-1')

  now = new Date(NOW.getTime() + 3_540_000)
  expect(await tokens.get(never())).toBe('token-2')
})

test('is fetched once for all who want it at the same time', async () => {
  const got = await Promise.all(Array.from({ length: 5 }, () => tokens.get(never())))

  expect(new Set(got)).toEqual(new Set(['token-1']))
  expect(forms).toHaveLength(1)
})

test('comes to those who still wait when the first has given up', async () => {
  const asked = heldAnswer()
  const impatient = new AbortController()
  const first = failureOf(tokens.get(impatient.signal))
  const second = tokens.get(never())
  const response = await asked
  impatient.abort()

  expect(await first).toMatchObject({ providerErrorCode: 'ABORTED', failureClass: 'transient' })
  grant(response, 'late')
  expect(await second).toBe('late')
  expect(forms).toHaveLength(1)
})

test('may fail to come when nobody waits any more', async () => {
  const asked = heldAnswer()
  const failed = failureOf(tokens.get(AbortSignal.timeout(100)))
  const response = await asked
  expect(await failed).toMatchObject({ providerErrorCode: 'TIMEOUT', failureClass: 'transient' })

  response.destroy()
  await once(response, 'close')
  // A rejection that nobody handles fails the run.
  answer = (next) => grant(next, 'next')
  await expect.poll(() => tokens.get(never()).catch(() => undefined)).toBe('next')
})

test('is fetched again when it was refused', async () => {
  tokens.forget(await tokens.get(never()))

  expect(await tokens.get(never())).toBe('token-2')
})

test('is kept when it is an older one that was refused', async () => {
  const older = await tokens.get(never())
  tokens.forget(older)
  await tokens.get(never())
  tokens.forget(older)

  expect(await tokens.get(never())).toBe('token-2')
})

test('is not asked for by whoever has given up already', async () => {
  const error = await failureOf(tokens.get(AbortSignal.abort()))

  expect(error).toMatchObject({ providerErrorCode: 'ABORTED', failureClass: 'transient' })
  expect(forms).toEqual([])
})

describe('a failure to get one means that no message has left, so it is', () => {
  test.each([
    { status: 400, error: 'invalid_grant', failureClass: 'ours', why: 'our key or account is wrong' },
    { status: 401, error: 'invalid_client', failureClass: 'ours', why: 'our account is wrong' },
    { status: 403, error: 'access_denied', failureClass: 'ours', why: 'we may not' },
    { status: 429, error: 'rate_limit_exceeded', failureClass: 'transient', why: 'too many were asked for' },
    { status: 500, error: 'internal_failure', failureClass: 'transient', why: 'something broke' },
    { status: 503, error: 'backend_error', failureClass: 'transient', why: 'it is overloaded' },
  ])('$failureClass after $status $error: $why', async ({ status, error, failureClass }) => {
    answer = (response) => response.writeHead(status, { 'Retry-After': '4' }).end(JSON.stringify({ error }))

    expect(await failureOf(tokens.get(never()))).toMatchObject({
      provider: 'fcm-push',
      providerErrorCode: error,
      failureClass,
      retryAfterMs: failureClass === 'transient' ? 4_000 : undefined,
    })
  })

  test.each(['<html>', '{"error":7}', '{"error":"Not a code: eyJ0eXAi"}'])('ours after 400 %s', async (body) => {
    answer = (response) => response.writeHead(400).end(body)

    expect(await failureOf(tokens.get(never()))).toMatchObject({ providerErrorCode: 'HTTP_400', failureClass: 'ours' })
  })

  test('ours after a redirect, which is not followed', async () => {
    answer = (response) => response.writeHead(307, { location: tokenUri }).end()

    expect(await failureOf(tokens.get(never()))).toMatchObject({ providerErrorCode: 'HTTP_307', failureClass: 'ours' })
    expect(forms).toHaveLength(1)
  })

  test('transient when it takes too long, though somebody would wait longer', async () => {
    answer = () => {}

    expect(await failureOf(accessTokens({ timeoutMs: 100 }).get(never()))).toMatchObject({
      providerErrorCode: 'TIMEOUT',
      failureClass: 'transient',
    })
  })

  test('transient when the connection is reset', async () => {
    answer = (response) => response.socket?.resetAndDestroy()

    expect(await failureOf(tokens.get(never()))).toMatchObject({
      providerErrorCode: 'ECONNRESET',
      failureClass: 'transient',
    })
  })

  test('transient when nobody answers', async () => {
    close()

    expect(await failureOf(tokens.get(never()))).toMatchObject({
      providerErrorCode: 'ECONNREFUSED',
      failureClass: 'transient',
    })
  })

  test.each([
    'not json',
    '{}',
    '{"access_token":"","expires_in":3600}',
    '{"access_token":7,"expires_in":3600}',
    '{"access_token":"t"}',
    '{"access_token":"t","expires_in":"3600"}',
  ])('transient when the answer can not be used: %s', async (body) => {
    answer = (response) => response.end(body)

    expect(await failureOf(tokens.get(never()))).toMatchObject({
      providerErrorCode: 'UNUSABLE_TOKEN',
      failureClass: 'transient',
    })
  })

  test('over with the next one that is asked for', async () => {
    answer = (response) => response.writeHead(500).end()
    await failureOf(tokens.get(never()))
    answer = (response) => grant(response, 'recovered')

    expect(await tokens.get(never())).toBe('recovered')
  })
})

test.each([
  { what: 'no PEM', key: 'not a key' },
  { what: 'no RSA key', key: generateKeyPairSync('ed25519').privateKey.export(PEM).toString() },
])('a service account whose key is $what is refused at once', ({ key }) => {
  expect(() => accessTokens({ privateKey: key })).toThrow()
})

function accessTokens({ timeoutMs = 5_000, privateKey: key = privateKey } = {}): AccessTokens {
  return createAccessTokens({
    provider: 'fcm-push',
    credentials: { type: 'service_account', clientEmail: 'router@bank.example', privateKey: key, tokenUri },
    scope: 'the-scope',
    timeoutMs,
    clock: () => now,
  })
}

function grant(response: ServerResponse, token: string): void {
  response.end(JSON.stringify({ access_token: token, expires_in: 3_600, token_type: 'Bearer' }))
}

/** The next request's response, for the test to give. */
function heldAnswer(): Promise<ServerResponse> {
  const { promise, resolve } = Promise.withResolvers<ServerResponse>()
  answer = resolve
  return promise
}
