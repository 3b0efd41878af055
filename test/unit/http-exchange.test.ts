import { once } from 'node:events'
import { createServer, type RequestListener, STATUS_CODES } from 'node:http'
import { type AddressInfo, createServer as createTcpServer, type Server, type Socket } from 'node:net'
import { text } from 'node:stream/consumers'
import { createServer as createTlsServer } from 'node:tls'
import fc from 'fast-check'
import { afterEach, describe, expect, test } from 'vitest'
import { FCM_ERRORS } from '../../src/providers/fcm/fcm-errors.ts'
import { abortCode, exchange, jsonOf, refusal } from '../../src/providers/http-exchange.ts'
import { ProviderError } from '../../src/providers/provider.ts'
import { TWILIO_MESSAGE_ERRORS } from '../../src/providers/twilio/twilio-errors.ts'
import { VONAGE_ERRORS } from '../../src/providers/vonage/vonage-errors.ts'
import { selfSigned } from '../support/self-signed.ts'

const KIB_64 = 64 * 1024
const POST = { method: 'POST', headers: { 'x-sent': 'yes' }, body: 'a=1' }

const closing: (() => void)[] = []
afterEach(() => {
  for (const close of closing.splice(0)) close()
})

describe('a whole answer', () => {
  test('comes with its status, headers and text', async () => {
    const requests: { method: string | undefined; url: string | undefined; sent: unknown; body: string }[] = []
    const url = await httpServer(async (request, response) => {
      const { method, url: path, headers } = request
      requests.push({ method, url: path, sent: headers['x-sent'], body: await text(request) })
      response.writeHead(418, { 'X-Answered': 'yes' }).end('{"text":"Straße"}')
    })

    const answer = await exchange('twilio-sms', `${url}/path?query=1`, POST, never())

    expect(answer).toMatchObject({ status: 418, headers: { 'x-answered': 'yes' }, body: '{"text":"Straße"}' })
    expect(requests).toEqual([{ method: 'POST', url: '/path?query=1', sent: 'yes', body: 'a=1' }])
  })

  test('may be a redirect, which is not followed', async () => {
    const paths: (string | undefined)[] = []
    const url = await httpServer((request, response) => {
      paths.push(request.url)
      response.writeHead(307, { location: '/elsewhere' }).end()
    })

    expect(await exchange('twilio-sms', `${url}/`, POST, never())).toMatchObject({
      status: 307,
      headers: { location: '/elsewhere' },
    })
    expect(paths).toEqual(['/'])
  })

  test('may have 64 KiB', async () => {
    const url = await httpServer((_, response) => response.writeHead(201).end('x'.repeat(KIB_64)))

    expect((await exchange('twilio-sms', url, POST, never())).body).toHaveLength(KIB_64)
  })

  test('with an error status is judged by it alone when its body is over 64 KiB', async () => {
    const url = await httpServer((_, response) => response.writeHead(400).end('x'.repeat(KIB_64 + 1)))

    expect(await exchange('twilio-sms', url, POST, never())).toMatchObject({ status: 400, body: '' })
  })
})

describe('an answer that begins with a 2xx and can not be used is unproven', () => {
  test('when it is over 64 KiB; the rest is not waited for', async () => {
    const closed = Promise.withResolvers<void>()
    const url = await httpServer((_, response) => {
      response.on('close', closed.resolve)
      response.writeHead(201).write('x'.repeat(KIB_64 + 1))
    })

    expect(await failureOf(url)).toMatchObject({ providerErrorCode: 'BODY_TOO_LARGE', failureClass: 'unproven' })
    await closed.promise
  })

  test('when it breaks off', async () => {
    const url = await httpServer((_, response) => {
      response.writeHead(201, { 'content-length': '100' }).write('{"sid":', () => response.destroy())
    })

    expect(await failureOf(url)).toMatchObject({ failureClass: 'unproven' })
  })

  test('when its body comes in drops, cut after the whole time and not after a silence', async () => {
    const url = await httpServer((_, response) => {
      response.writeHead(201)
      const dripping = setInterval(() => response.write(' '), 20)
      response.on('close', () => clearInterval(dripping))
    })
    const startedMs = performance.now()

    expect(await failureOf(url, AbortSignal.timeout(200))).toMatchObject({
      providerErrorCode: 'TIMEOUT',
      failureClass: 'unproven',
    })
    expect(performance.now() - startedMs).toBeLessThan(10_000)
  })
})

describe('a request that was written and not answered may have been carried out', () => {
  test('when time runs out', async () => {
    const url = await httpServer(() => {})

    expect(await failureOf(url, AbortSignal.timeout(100))).toMatchObject({
      provider: 'twilio-sms',
      providerErrorCode: 'TIMEOUT',
      failureClass: 'unknown',
    })
  })

  test('when its headers come in drops', async () => {
    const url = await tcpServer((socket) => {
      socket.once('data', () => {
        socket.write('HTTP/1.1 201 Created\r\n')
        const dripping = setInterval(() => socket.write('X-Drop: 1\r\n'), 20)
        socket.on('close', () => clearInterval(dripping))
      })
    })

    expect(await failureOf(url, AbortSignal.timeout(200))).toMatchObject({
      providerErrorCode: 'TIMEOUT',
      failureClass: 'unknown',
    })
  })

  test('when whoever waits for it gives up', async () => {
    const giveUp = new AbortController()
    const url = await httpServer(() => giveUp.abort())

    expect(await failureOf(url, giveUp.signal)).toMatchObject({ providerErrorCode: 'ABORTED', failureClass: 'unknown' })
  })

  test('when the connection is reset', async () => {
    const url = await tcpServer((socket) => socket.once('data', () => socket.resetAndDestroy()))

    expect(await failureOf(url)).toMatchObject({ providerErrorCode: 'ECONNRESET', failureClass: 'unknown' })
  })

  test('when the connection is closed', async () => {
    const url = await tcpServer((socket) => socket.once('data', () => socket.end()))

    expect(await failureOf(url)).toMatchObject({ failureClass: 'unknown' })
  })

  test('when the answer is no HTTP', async () => {
    const url = await tcpServer((socket) => socket.once('data', () => socket.end('SSH-2.0-OpenSSH\r\n')))

    expect(await failureOf(url)).toMatchObject({ failureClass: 'unknown' })
  })
})

describe('a request of which nothing was written was not carried out', () => {
  test('when whoever wants it has given up before', async () => {
    let requests = 0
    const url = await httpServer(() => {
      requests += 1
    })

    expect(await failureOf(url, AbortSignal.abort())).toMatchObject({
      providerErrorCode: 'ABORTED',
      failureClass: 'transient',
    })
    expect(requests).toBe(0)
  })

  test('when the connection is refused', async () => {
    const url = await tcpServer(() => {})
    for (const close of closing.splice(0)) close()

    expect(await failureOf(url)).toMatchObject({ providerErrorCode: 'ECONNREFUSED', failureClass: 'transient' })
  })

  test('when the name has no address', async () => {
    // A label of more than 63 characters: no name server needs to be asked.
    const url = `http://${'x'.repeat(64)}.invalid`

    expect(await failureOf(url)).toMatchObject({
      providerErrorCode: expect.stringMatching(/^(ENOTFOUND|EAI_AGAIN)$/),
      failureClass: 'transient',
    })
  })

  test('when the other side speaks no TLS', async () => {
    const url = await httpServer((_, response) => response.end())

    expect(await failureOf(overTls(url))).toMatchObject({ failureClass: 'transient' })
  })

  test('when the certificate is not trusted', async () => {
    const { url, received } = await tlsServer(selfSigned())

    expect(await failureOf(url)).toMatchObject({
      providerErrorCode: 'DEPTH_ZERO_SELF_SIGNED_CERT',
      failureClass: 'transient',
    })
    expect(received).toEqual([])
  })

  test('when the two sides agree on no cipher', async () => {
    const { url } = await tlsServer({})

    expect(await failureOf(url)).toMatchObject({
      providerErrorCode: expect.stringMatching(/^ERR_SSL_/),
      failureClass: 'transient',
    })
  })

  test('when the connection is reset during the TLS handshake', async () => {
    const url = await tcpServer((socket) => socket.once('data', () => socket.resetAndDestroy()))

    expect(await failureOf(overTls(url))).toMatchObject({ failureClass: 'transient' })
  })

  test('when the time runs out before the TLS handshake ends', async () => {
    const url = await tcpServer(() => {})

    expect(await failureOf(overTls(url), AbortSignal.timeout(200))).toMatchObject({
      providerErrorCode: 'TIMEOUT',
      failureClass: 'transient',
    })
  })
})

test('a failure says nothing of what was sent', async () => {
  const url = await tcpServer((socket) => socket.once('data', () => socket.resetAndDestroy()))

  const error = await failureOf(url, never(), { headers: { authorization: 'Basic c2VjcmV0' }, body: 'code=123456' })

  const told = JSON.stringify([error, error.message, error.stack, error.cause])
  expect(told).not.toMatch(/c2VjcmV0|123456/)
})

describe('a refusal', () => {
  test.each([
    { status: 307, failureClass: 'ours' },
    { status: 400, failureClass: 'ours' },
    { status: 401, failureClass: 'ours' },
    { status: 403, failureClass: 'ours' },
    { status: 404, failureClass: 'ours' },
    { status: 429, failureClass: 'transient' },
    { status: 500, failureClass: 'transient' },
    { status: 503, failureClass: 'transient' },
    { status: 599, failureClass: 'transient' },
  ])('with $status is $failureClass', ({ status, failureClass }) => {
    expect(refused(status)).toMatchObject({
      providerErrorCode: `HTTP_${status}`,
      failureClass,
      retryAfterMs: undefined,
    })
  })

  test("keeps the provider's own code", () => {
    const answer = { status: 503, headers: {}, body: '' }
    expect(refusal('twilio-sms', answer, '20503', {})).toMatchObject({
      provider: 'twilio-sms',
      providerErrorCode: '20503',
    })
  })

  test.each([
    { status: 400, code: '1', failureClass: 'recipient' },
    { status: 429, code: '2', failureClass: 'ours' },
    { status: 422, code: '3', failureClass: 'transient' },
    { status: 500, code: '1', failureClass: 'transient' },
    { status: 400, code: '4', failureClass: 'pair' },
    { status: 403, code: '4', failureClass: 'ours' },
    { status: 400, code: 'constructor', failureClass: 'pair' },
  ])('with $status and the code $code, of a table of codes, is $failureClass', ({ status, code, failureClass }) => {
    const answer = { status, headers: {}, body: '' }
    const meanings = { 1: 'recipient', 2: 'ours', 3: 'transient', HTTP_400: 'pair' } as const
    expect(refusal('twilio-sms', answer, code, meanings)).toMatchObject({ providerErrorCode: code, failureClass })
  })

  test('is counted under a code that we know, or under its class, whatever the vendor invents', () => {
    const meanings = { ...TWILIO_MESSAGE_ERRORS, ...VONAGE_ERRORS, ...FCM_ERRORS }
    const codes = fc.oneof(fc.constant(undefined), fc.string(), fc.constantFrom(...Object.keys(meanings)))
    const labels = new Set<string>()
    fc.assert(
      fc.property(fc.oneof(fc.constant(400), fc.integer({ min: 300, max: 999 })), codes, (status, code) => {
        const error = refusal('twilio-sms', { status, headers: {}, body: '' }, code, meanings)
        labels.add(error.label)
        const isKnown = code !== undefined && Object.hasOwn(meanings, code)
        const isStatus = code === undefined && STATUS_CODES[status] !== undefined
        expect(error.label).toBe(isKnown || isStatus ? error.providerErrorCode : `other_${error.failureClass}`)
      }),
      { numRuns: 2_000 },
    )
    const known = [...Object.keys(meanings), ...Object.keys(STATUS_CODES).map((status) => `HTTP_${status}`)]
    const others = [...labels].filter((label) => !known.includes(label))
    expect(others.toSorted()).toEqual(['other_ours', 'other_pair', 'other_transient'])
  })

  test.each([429, 500, 503])('with %i says how long to wait, when the provider does', (status) => {
    expect(refused(status, { 'retry-after': '7' }).retryAfterMs).toBe(7_000)
  })

  test('that no waiting helps says of none', () => {
    expect(refused(400, { 'retry-after': '7' }).retryAfterMs).toBeUndefined()
  })

  test.each([
    { header: '0', ms: 0 },
    { header: '7', ms: 7_000 },
    { header: 'soon', ms: undefined },
    { header: 'Thu, 01 Jan 1970 00:00:00 GMT', ms: 0 },
  ])('with 429 and Retry-After "$header" asks to wait $ms ms', ({ header, ms }) => {
    expect(refused(429, { 'retry-after': header }).retryAfterMs).toBe(ms)
  })

  test('with 429 may name the time to wait for', () => {
    const inAMinute = new Date(Date.now() + 60_000).toUTCString()

    const { retryAfterMs } = refused(429, { 'retry-after': inAMinute })

    // Such a date has no fractions of seconds.
    expect(retryAfterMs).toBeGreaterThan(55_000)
    expect(retryAfterMs).toBeLessThanOrEqual(60_000)
  })
})

describe('the body of an answer', () => {
  test.each([
    { body: '{"a":1}', expected: { a: 1 } },
    { body: '', expected: {} },
    { body: 'not json', expected: {} },
    { body: 'null', expected: {} },
    { body: '7', expected: {} },
    { body: '"text"', expected: {} },
  ])('$body is read as $expected', ({ body, expected }) => {
    expect(jsonOf({ status: 200, headers: {}, body })).toEqual(expected)
  })
})

test('a call given up says whether time ran out', () => {
  const timedOut = AbortSignal.abort(new DOMException('', 'TimeoutError'))
  expect([abortCode(timedOut), abortCode(AbortSignal.abort())]).toEqual(['TIMEOUT', 'ABORTED'])
})

function overTls(url: string): string {
  return url.replace('http:', 'https:')
}

function never(): AbortSignal {
  return new AbortController().signal
}

function refused(status: number, headers: Record<string, string> = {}): ProviderError {
  return refusal('twilio-sms', { status, headers, body: '' }, undefined, {})
}

async function failureOf(
  url: string,
  signal = never(),
  init: Partial<typeof POST> | object = {},
): Promise<ProviderError> {
  const error = await exchange('twilio-sms', url, { ...POST, ...init }, signal).catch((thrown: unknown) => thrown)
  if (!(error instanceof ProviderError)) throw new Error('expected a ProviderError', { cause: error })
  return error
}

async function httpServer(answer: RequestListener): Promise<string> {
  const server = createServer(answer)
  closing.push(() => server.closeAllConnections())
  return listen(server)
}

async function tcpServer(accept: (socket: Socket) => void): Promise<string> {
  const sockets: Socket[] = []
  closing.push(() => {
    for (const socket of sockets) socket.destroy()
  })
  return listen(
    createTcpServer((socket) => {
      sockets.push(socket)
      socket.on('error', () => {})
      accept(socket)
    }),
  )
}

/** A server that keeps what it could decrypt. */
async function tlsServer(credentials: { key?: string; cert?: string }): Promise<{ url: string; received: string[] }> {
  const received: string[] = []
  const server = createTlsServer(credentials, (socket) => {
    socket.on('error', () => {})
    socket.on('data', (data) => received.push(String(data)))
  })
  server.on('tlsClientError', () => {})
  const url = await listen(server)
  return { url: overTls(url), received }
}

async function listen(server: Server): Promise<string> {
  closing.push(() => server.close())
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
}
