import { createHash, generateKeyPairSync, randomBytes, randomUUID } from 'node:crypto'
import { type JWTPayload, SignJWT } from 'jose'
import { describe, expect, test } from 'vitest'
import { vonageReceipts } from '../../src/providers/vonage/vonage-receipts.ts'

const SECRET = randomBytes(32).toString('hex')
const API_KEY = 'abcd1234'
const ID = randomUUID()
const CHALLENGE = randomUUID()
const TARGET = `/webhooks/vonage/messages?challenge=${CHALLENGE}&attempt=1`
const BODY = {
  message_uuid: ID,
  to: '34600111222',
  from: 'Bank',
  timestamp: '2026-01-01T00:00:00.000Z',
  status: 'delivered',
  client_ref: `${CHALLENGE}.2`,
  channel: 'sms',
}

const reader = vonageReceipts({ apiKey: API_KEY, signatureSecret: SECRET })
const now = () => Math.floor(Date.now() / 1_000)
const sha256 = (text: string) => createHash('sha256').update(text).digest('hex')

/** The token that Vonage would send with a body, but for these claims; undefined leaves one out. */
function tokenOf(body: string, claims: JWTPayload = {}, alg = 'HS256', key: string | Uint8Array = SECRET) {
  const right = { iss: 'Vonage', iat: now(), jti: randomUUID(), api_key: API_KEY, payload_hash: sha256(body) }
  return new SignJWT({ ...right, ...claims }).setProtectedHeader({ alg, typ: 'JWT' }).sign(Buffer.from(key))
}

function readWith(authorization: string | undefined, body: string) {
  return reader.read({ target: TARGET, headers: { authorization }, rawBody: Buffer.from(body) })
}

/** Reads a body that is signed as it should be, but for these claims. */
async function read(body: string | object = BODY, claims: JWTPayload = {}) {
  const text = typeof body === 'string' ? body : JSON.stringify(body)
  return readWith(`Bearer ${await tokenOf(text, claims)}`, text)
}

/** A token of these parts under a signature that may be anything. */
function unsafeToken(header: object, payload: object, signature = ''): string {
  const parts = [header, payload].map((part) => Buffer.from(JSON.stringify(part)).toString('base64url'))
  return [...parts, signature].join('.')
}

describe('a receipt signed by Vonage', () => {
  test('is read with everything that it says, and what proves it', async () => {
    const body = JSON.stringify(BODY)
    const token = await tokenOf(body)
    const receipt = await readWith(`Bearer ${token}`, body)
    expect(receipt).toEqual({
      challengeId: CHALLENGE,
      attempt: 2,
      provider: 'vonage-sms',
      providerChallengeId: ID,
      vendorStatus: 'delivered',
      deliveryStatus: 'DELIVERED',
      providerErrorCode: undefined,
      proof: { rawBody: Buffer.from(body), signature: expect.any(String), keyName: 'signature secret' },
    })
    const signature = receipt?.proof.signature ?? ''
    const claims = Buffer.from(signature.split('.')[1] ?? '', 'base64url').toString()
    expect(claims).toContain('"payload_hash":""')
    expect(claims).not.toContain(sha256(body))
    const whole = Buffer.from(claims.replace('"payload_hash":"', `$&${sha256(body)}`)).toString('base64url')
    expect(signature.replace(/\..*\./, `.${whole}.`)).toBe(token)
  })

  test('is about what its body names, not its URL, which is not signed', async () => {
    const [body, target] = [JSON.stringify(BODY), `/webhooks/vonage/messages?challenge=${randomUUID()}&attempt=9`]
    const headers = { authorization: `bearer ${await tokenOf(body)}` }
    const receipt = await reader.read({ target, headers, rawBody: Buffer.from(body) })
    expect(receipt).toMatchObject({ challengeId: CHALLENGE, attempt: 2 })
  })

  test.each([
    ['submitted', 'SENT'],
    ['delivered', 'DELIVERED'],
    ['read', 'DELIVERED'],
    ['rejected', 'UNDELIVERED'],
    ['undeliverable', 'UNDELIVERED'],
    ['seen_by-nobody', undefined],
    ['constructor', undefined],
  ])('of a message that is %s means %s', async (status, deliveryStatus) => {
    const receipt = await read({ ...BODY, status })
    expect(receipt).toMatchObject({ vendorStatus: status })
    expect(receipt?.deliveryStatus).toBe(deliveryStatus)
  })

  test.each([
    [{ type: 'https://developer.vonage.com/api-errors/messages#1430', title: 'No' }, '1430'],
    [{ type: 'https://developer.vonage.com/api-errors/messages', title: '1260' }, '1260'],
    [{ title: 1330 }, '1330'],
    [{ type: 'about:blank', title: 'Number +34600111222 is barred' }, undefined],
    [{}, undefined],
    ['1430', undefined],
    [null, undefined],
  ])('with the error %j has the code %s', async (error, code) => {
    expect((await read({ ...BODY, status: 'rejected', error }))?.providerErrorCode).toBe(code)
  })

  test('may say until when it holds', async () => {
    expect(await read(BODY, { exp: now() + 60 })).toBeDefined()
  })
})

describe('no receipt', () => {
  const body = JSON.stringify(BODY)

  test.each([
    ['has no token', async () => undefined],
    ['has an empty token', async () => 'Bearer '],
    ['has a token without its scheme', () => tokenOf(body)],
    ['has two tokens', async () => `Bearer ${await tokenOf(body)} ${await tokenOf(body)}`],
    ['is signed with another secret', async () => `Bearer ${await tokenOf(body, {}, 'HS256', randomBytes(32))}`],
    ['is signed by another algorithm', async () => `Bearer ${await tokenOf(body, {}, 'HS512')}`],
    ['lost its signature', async () => `Bearer ${(await tokenOf(body)).replace(/[^.]+$/, '')}`],
    [
      'is signed by nobody',
      async () => `Bearer ${unsafeToken({ alg: 'none' }, { api_key: API_KEY, payload_hash: sha256(body) })}`,
    ],
  ] as [string, () => Promise<string | undefined>][])('is what %s', async (_, authorization) => {
    expect(await readWith(await authorization(), body)).toBeUndefined()
  })

  test('is what is signed with a private key, though its public one were the secret', async () => {
    const { publicKey, privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 })
    const signatureSecret = publicKey.export({ type: 'spki', format: 'pem' }).toString()
    const trusting = vonageReceipts({ apiKey: API_KEY, signatureSecret })
    const token = await new SignJWT({ api_key: API_KEY, payload_hash: sha256(body) })
      .setProtectedHeader({ alg: 'RS256' })
      .sign(privateKey)
    const headers = { authorization: `Bearer ${token}` }
    expect(await trusting.read({ target: TARGET, headers, rawBody: Buffer.from(body) })).toBeUndefined()
    const mixed = `${token.replace(/^[^.]+/, Buffer.from('{"alg":"HS256"}').toString('base64url'))}`
    expect(
      await trusting.read({
        target: TARGET,
        headers: { authorization: `Bearer ${mixed}` },
        rawBody: Buffer.from(body),
      }),
    ).toBeUndefined()
  })

  test.each([
    ['one letter more', `${body} `],
    ['another status', body.replace('delivered', 'rejected')],
    ['nothing in it', ''],
  ])('is a body with %s than the signed one', async (_, other) => {
    expect(await readWith(`Bearer ${await tokenOf(body)}`, other)).toBeUndefined()
  })

  test.each([
    ['no hash', { payload_hash: undefined }],
    ['an empty hash', { payload_hash: '' }],
    ['the hash in capitals', { payload_hash: sha256(body).toUpperCase() }],
    ['another account', { api_key: 'abcd1235' }],
    ['no account', { api_key: undefined }],
    ['its time over', { exp: now() - 1 }],
    ['its time to come', { nbf: now() + 60 }],
  ])('is what has %s in its token', async (_, claims) => {
    expect(await read(BODY, claims)).toBeUndefined()
  })

  test.each([
    ['broken', '{"message_uuid":'],
    ['a list', JSON.stringify([BODY])],
    ['null', 'null'],
    ['empty', ''],
    ['without an id', { ...BODY, message_uuid: undefined }],
    ['with an id that is none', { ...BODY, message_uuid: `${ID}0` }],
    ['with a number for an id', { ...BODY, message_uuid: 7 }],
    ['without a status', { ...BODY, status: undefined }],
    ['with a status that is no word', { ...BODY, status: 'sent to 34600111222' }],
    ['with an endless status', { ...BODY, status: 'a'.repeat(41) }],
    ['without a reference', { ...BODY, client_ref: undefined }],
    ['with a number for a reference', { ...BODY, client_ref: 1.2 }],
    ['with a reference without attempt', { ...BODY, client_ref: CHALLENGE }],
    ['with attempt 0', { ...BODY, client_ref: `${CHALLENGE}.0` }],
    ['with attempt 01', { ...BODY, client_ref: `${CHALLENGE}.01` }],
    ['with attempt 1000', { ...BODY, client_ref: `${CHALLENGE}.1000` }],
    ['with something behind the attempt', { ...BODY, client_ref: `${CHALLENGE}.1.2` }],
    ['with a reference of another kind', { ...BODY, client_ref: 'campaign-7.1' }],
  ])('is a body that is %s, though it is signed', async (_, unusable) => {
    expect(await read(unusable)).toBeUndefined()
  })
})
