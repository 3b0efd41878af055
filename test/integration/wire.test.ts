import { execFile } from 'node:child_process'
import { once } from 'node:events'
import http2 from 'node:http2'
import { connect } from 'node:net'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { gzipSync } from 'node:zlib'
import { create, toBinary } from '@bufbuild/protobuf'
import { Code, createClient } from '@connectrpc/connect'
import { createGrpcTransport } from '@connectrpc/connect-node'
import { sql } from 'kysely'
import { afterAll, beforeAll, describe, expect, inject, test, vi } from 'vitest'
import { RoutingService } from '../../gen/bank/signature/v1/routing_pb.ts'
import {
  ChallengeStatus,
  SignatureService,
  SignatureStatus,
  StartSignatureRequestSchema,
} from '../../gen/bank/signature/v1/signature_pb.ts'
import { ServerReflection } from '../../gen/grpc/reflection/v1/reflection_pb.ts'
import { Health, HealthCheckResponse_ServingStatus as Serving } from '../../gen/health/v1/health_pb.ts'
import { sandboxSettings } from '../../src/sandbox/sandbox-accounts.ts'
import {
  type App,
  codeIn,
  type Failure,
  failure,
  row,
  startApp,
  startRequest,
  transaction,
  typeName,
  wrongCode,
} from '../support/app.ts'
import { createGrpcJsClient, type GrpcJsClient, grpcJsFailure, pathOf, readFailure } from '../support/grpc-js.ts'

let app: App
let grpcJs: GrpcJsClient
beforeAll(async () => {
  app = await startApp()
  grpcJs = createGrpcJsClient(app.url)
})
afterAll(async () => {
  grpcJs[Symbol.dispose]()
  await app[Symbol.asyncDispose]()
})

const { startSignature, getChallenge, completeSignature, getSignature } = SignatureService.method
const START = pathOf(startSignature)

/** What a request got that no gRPC client would send; `failure` is undefined unless it was answered as gRPC. */
interface Answer {
  httpStatus: number
  failure: Failure | undefined
}

/** Posts a body as it is, on a connection of its own. Rejects when there is no answer within 5 s. */
async function post(body: Uint8Array, headers: http2.OutgoingHttpHeaders = {}, path = START): Promise<Answer> {
  const session = http2.connect(app.url)
  try {
    const request = session.request({
      ':method': 'POST',
      ':path': path,
      'content-type': 'application/grpc',
      te: 'trailers',
      ...headers,
    })
    const trailers = Promise.withResolvers<http2.IncomingHttpHeaders>()
    request.on('trailers', trailers.resolve).on('end', () => trailers.resolve({}))
    const signal = AbortSignal.timeout(5_000)
    const answered = once(request, 'response', { signal })
    request.resume().end(body)
    const [response]: http2.IncomingHttpHeaders[] = await answered
    const {
      'grpc-status': status,
      'grpc-message': message,
      'grpc-status-details-bin': details,
    } = {
      ...response,
      ...(await trailers.promise),
    }
    return {
      httpStatus: Number(response?.[':status']),
      failure:
        status === undefined
          ? undefined
          : readFailure(
              Number(status),
              decodeURIComponent(String(message ?? '')),
              details === undefined ? undefined : Buffer.from(String(details), 'base64'),
            ),
    }
  } finally {
    session.destroy()
  }
}

/** A message as gRPC frames it: a byte of flags, its length, its bytes. */
function frame(message: Uint8Array, { flags = 0, length = message.length } = {}): Buffer {
  const head = Buffer.alloc(5)
  head.writeUInt8(flags)
  head.writeUInt32BE(length, 1)
  return Buffer.concat([head, message])
}

const COMPRESSED = 1
const EMPTY = new Uint8Array()
const MIB = 1024 * 1024

/** A StartSignatureRequest that is right in every field. */
const validStart = () => toBinary(StartSignatureRequestSchema, create(StartSignatureRequestSchema, startRequest()))

/** A message of that many bytes: field 1, a text of "a". */
function textMessage(bytes: number): Buffer {
  // Three bytes hold a length of up to 2 MiB.
  const length = bytes - 4
  const head = [(1 << 3) | 2, (length & 0x7f) | 0x80, ((length >> 7) & 0x7f) | 0x80, length >> 14]
  return Buffer.concat([Uint8Array.from(head), Buffer.alloc(length, 'a')])
}

async function rowsStored(): Promise<number> {
  const { rows } = await sql<{ count: number }>`SELECT count(*)::int AS count FROM signature`.execute(app.db)
  return rows[0]?.count ?? 0
}

/** For what happens soon after an answer, such as its line in the log. */
const SOON = { timeout: 5_000, interval: 10 }

/** The lines that RPCs left since a mark in the log. */
const rpcLines = ({ logs }: Pick<App, 'logs'>, since = 0) => logs.slice(since).filter(({ msg }) => msg === 'rpc')

describe('over @grpc/grpc-js', () => {
  test('a signature is started, refused a wrong code and signed with the right one', async () => {
    const { signature, challenge } = await grpcJs.call(startSignature, startRequest())
    expect(signature).toMatchObject({ status: SignatureStatus.PENDING, transaction: transaction() })
    expect(challenge).toMatchObject({ signatureId: signature?.id, status: ChallengeStatus.SENT })
    const signatureId = signature?.id ?? ''
    const challengeId = challenge?.id ?? ''
    const code = codeIn(app.sandbox.messages[0]?.body)
    const complete = (submitted: string) =>
      grpcJs.call(completeSignature, { signatureId, code: submitted, transaction: transaction() })

    expect(await grpcJsFailure(complete(wrongCode(code)))).toMatchObject({
      code: Code.FailedPrecondition,
      reason: 'CODE_REJECTED',
      metadata: { tries_remaining: '2' },
    })
    expect(await grpcJs.call(getChallenge, { challengeId })).toMatchObject({ challenge: { triesRemaining: 2 } })
    expect((await complete(code)).signature).toMatchObject({ status: SignatureStatus.SIGNED })

    const { signature: stored } = await grpcJs.call(getSignature, { signatureId })
    expect(stored?.timeline.map(({ type }) => typeName(type))).toEqual([
      'SIGNATURE_STARTED',
      'CHALLENGE_STARTED',
      'CHALLENGE_SENT',
      'CODE_REJECTED',
      'SIGNATURE_SIGNED',
    ])
    expect(await row(app, 'signature', signatureId)).toMatchObject({ status: 'SIGNED' })
  })

  test('an error carries its reason, fields and wait in a google.rpc.Status', async () => {
    const refused = await grpcJsFailure(grpcJs.call(startSignature, startRequest({ phoneNumber: '', locale: '?' })))
    expect(refused).toMatchObject({ code: Code.InvalidArgument, reason: 'INVALID_FIELD' })
    expect(refused.fields).toEqual(['phone_number', 'locale'])

    const called = app.sandbox.nextCall()
    app.sandbox.failNext({ hang: true })
    const request = startRequest()
    const caller = new AbortController()
    const first = app.client.startSignature(request, { signal: caller.signal }).catch(() => {})
    await called
    expect(await grpcJsFailure(grpcJs.call(startSignature, request))).toMatchObject({
      code: Code.Aborted,
      reason: 'IDEMPOTENCY_IN_PROGRESS',
      retryDelayMs: 1_000,
    })
    caller.abort()
    await first
  })

  test('a method or service that does not exist is UNIMPLEMENTED', async () => {
    for (const path of ['/bank.signature.v1.SignatureService/Nothing', '/bank.Nothing/Start', '/']) {
      expect(await grpcJsFailure(grpcJs.send(path, EMPTY))).toMatchObject({ code: Code.Unimplemented })
    }
  })

  test('a message may have 32 KiB and one with a routing table 1 MiB, and the connection goes on', async () => {
    const stored = await rowsStored()
    const { listSignatures } = SignatureService.method
    const { publishRoutingTable, simulateRoutingTable, explainRoute, listProviders } = RoutingService.method
    for (const [most, methods] of [
      [32 * 1024, [startSignature, getSignature, listSignatures, explainRoute, listProviders]],
      [MIB, [publishRoutingTable, simulateRoutingTable]],
    ] as const) {
      for (const method of methods) {
        const codeOf = async (bytes: number) =>
          (await post(frame(textMessage(bytes)), {}, pathOf(method))).failure?.code
        expect(await codeOf(most), method.name).not.toBe(Code.ResourceExhausted)
        expect(await codeOf(most + 1), method.name).toBe(Code.ResourceExhausted)
      }
    }
    expect(await rowsStored()).toBe(stored)
    await grpcJs.call(startSignature, startRequest())
  })

  test('a table of empty rows is refused before it is unpacked into rows', async () => {
    const { publishRoutingTable } = RoutingService.method
    // Two bytes each.
    const rows = (count: number) =>
      Buffer.alloc(2 * count, Buffer.of((publishRoutingTable.input.field.routes.number << 3) | 2, 0))
    const path = pathOf(publishRoutingTable)
    const body = frame(gzipSync(rows(MIB / 2)), { flags: COMPRESSED })
    expect(body.length).toBeLessThan(2_000)
    expect(await post(body, { 'grpc-encoding': 'gzip' }, path)).toMatchObject({
      failure: { code: Code.ResourceExhausted },
    })
    expect(await post(frame(rows(40_001)), {}, path)).toMatchObject({ failure: { code: Code.ResourceExhausted } })
    expect(await post(frame(rows(40_000)), {}, path)).toMatchObject({
      failure: { code: Code.InvalidArgument, fields: expect.arrayContaining(['routes']) },
    })
  })

  test('a deadline that is over before the answer is DEADLINE_EXCEEDED', async () => {
    app.sandbox.failNext({ hang: true })
    const deadline = new Date(Date.now() + 1_000)
    expect(await grpcJsFailure(grpcJs.call(startSignature, startRequest(), { deadline }))).toMatchObject({
      code: Code.DeadlineExceeded,
    })
  })
})

describe('what is no request', () => {
  const malformed = { code: Code.InvalidArgument, reason: 'INVALID_FIELD' }
  const truncatedGzip = gzipSync(Buffer.alloc(1_000)).subarray(0, 15)

  test.each([
    ['bytes that are no protobuf', frame(Uint8Array.of(0xff, 0xff, 0xff)), {}],
    ['a field with number 0', frame(Uint8Array.of(0, 0)), {}],
    ['a field of another type', frame(Uint8Array.of(1 << 3, 1)), {}],
    ['a field that is longer than the message', frame(Uint8Array.of((1 << 3) | 2, 100, 97)), {}],
    ['a text that is no UTF-8', frame(Uint8Array.of((1 << 3) | 2, 1, 0xff)), {}],
    ['a frame that ends too soon', frame(new Uint8Array(3), { length: 10 }), {}],
    ['a frame without its head', Uint8Array.of(0, 0), {}],
    ['bytes after the message', Buffer.concat([frame(validStart()), Uint8Array.of(0)]), {}],
    ['what is no gzip', frame(Buffer.from('nonsense'), { flags: COMPRESSED }), { 'grpc-encoding': 'gzip' }],
    ['gzip that ends too soon', frame(truncatedGzip, { flags: COMPRESSED }), { 'grpc-encoding': 'gzip' }],
    ['compression that was not announced', frame(gzipSync(validStart()), { flags: COMPRESSED }), {}],
  ])('%s is INVALID_ARGUMENT', async (_, body, headers) => {
    const stored = await rowsStored()
    expect(await post(body, headers)).toMatchObject({ httpStatus: 200, failure: malformed })
    expect(await rowsStored()).toBe(stored)
  })

  // https://github.com/grpc/grpc/blob/master/doc/statuscodes.md: a unary call without or with several messages, and an
  // algorithm that the server doesn't know, are UNIMPLEMENTED.
  test.each([
    ['no message', EMPTY, {}],
    ['two messages', Buffer.concat([frame(validStart()), frame(validStart())]), {}],
    ['an unknown compression', frame(validStart(), { flags: COMPRESSED }), { 'grpc-encoding': 'zstd' }],
  ])('%s is UNIMPLEMENTED', async (_, body, headers) => {
    const stored = await rowsStored()
    expect(await post(body, headers)).toMatchObject({ failure: { code: Code.Unimplemented } })
    expect(await rowsStored()).toBe(stored)
  })

  test.each([
    ['a message of 4 GiB by its own word', frame(EMPTY, { length: 2 ** 32 - 1 }), {}],
    [
      'a message that unpacks to 5 MiB',
      frame(gzipSync(Buffer.alloc(5 * MIB)), { flags: COMPRESSED }),
      { 'grpc-encoding': 'gzip' },
    ],
  ])('%s is RESOURCE_EXHAUSTED', async (_, body, headers) => {
    expect(await post(body, headers)).toMatchObject({ failure: { code: Code.ResourceExhausted } })
  })

  test('a compressed message is taken', async () => {
    const body = frame(gzipSync(validStart()), { flags: COMPRESSED })
    expect(await post(body, { 'grpc-encoding': 'gzip' })).toMatchObject({ failure: { code: 0 } })
  })

  test.each(['99999999H', '10M', '61S', '60001m', '99999999u'])('a deadline of %s is taken', async (timeout) => {
    expect(await post(frame(validStart()), { 'grpc-timeout': timeout })).toMatchObject({ failure: { code: 0 } })
  })

  test.each(['1', 'S', '1s', '-1S', '1.5S', '123456789m', '1S1m'])(
    'a deadline of %s is INVALID_ARGUMENT',
    async (timeout) => {
      expect(await post(frame(validStart()), { 'grpc-timeout': timeout })).toMatchObject({ failure: malformed })
    },
  )

  test('a call whose deadline is over when it arrives does nothing', async () => {
    const stored = await rowsStored()
    const calls = app.sandbox.calls.length
    expect(await post(frame(validStart()), { 'grpc-timeout': '0n' })).toMatchObject({
      failure: { code: Code.DeadlineExceeded },
    })
    expect(await rowsStored()).toBe(stored)
    expect(app.sandbox.calls).toHaveLength(calls)
  })

  test.each([
    'application/json',
    'application/connect+json',
    'application/proto',
    'application/grpc-web+proto',
    'text/plain',
  ])('only gRPC is served: %s is 415', async (type) => {
    expect(await post(Buffer.from('{}'), { 'content-type': type })).toEqual({ httpStatus: 415, failure: undefined })
  })

  test.each([':::', '[', '%', 'host:99999999'])('the authority %s is refused and harms nobody', async (authority) => {
    expect(await post(frame(EMPTY), { ':authority': authority })).toMatchObject({ httpStatus: 400 })
    await app.client.startSignature(startRequest())
  })

  test('HTTP/1.1 on the gRPC port is turned away and harms nobody', async () => {
    const socket = connect(app.server.grpcPort, '127.0.0.1')
    socket.on('error', () => {}).resume()
    socket.write(`POST ${START} HTTP/1.1\r\nHost: bank\r\nContent-Length: 0\r\n\r\n`)
    await once(socket, 'close')
    await app.client.startSignature(startRequest())
  })
})

describe('one connection', () => {
  const open = async () => {
    const session = http2.connect(app.url).on('error', () => {})
    await once(session, 'remoteSettings')
    return session
  }
  const post = (session: http2.ClientHttp2Session, path: string) =>
    session
      .request({ ':method': 'POST', ':path': path, 'content-type': 'application/grpc', te: 'trailers' })
      .on('error', () => {})
      .resume()

  test('lives on after more requests that were refused unread than it may have streams', async () => {
    const session = await open()
    for (let number = 1; number <= 110; number++) {
      const stream = post(session, START)
      const refused = once(stream, 'response')
      // Never ended by this client.
      stream.write(frame(EMPTY, { length: MIB + 1 }))
      expect((await refused)[0]).toMatchObject({ 'grpc-status': String(Code.ResourceExhausted) })
    }
  })

  test('has at most 100 streams open at once: the next one waits until one has ended', async () => {
    const session = await open()
    expect(session.remoteSettings.maxConcurrentStreams).toBe(100)
    const watch = () => {
      const stream = post(session, pathOf(Health.method.watch))
      stream.end(frame(EMPTY))
      return new Promise((resolve) => stream.once('response', resolve))
    }
    await Promise.all(Array.from({ length: 99 }, watch))

    const order: string[] = []
    post(session, START)
      .once('trailers', () => order.push('the 100th has ended'))
      .end(frame(validStart()))
    await watch().then(() => order.push('the next is answered'))
    expect(order).toEqual(['the 100th has ended', 'the next is answered'])
    session.destroy()
  })

  test('that opens and resets streams without end is closed, and harms nobody', async () => {
    const session = await open()
    const closed = new Promise((resolve) => session.once('close', resolve))
    for (let n = 0; n < 5_000 && !session.destroyed; n += 1) {
      post(session, START).close(http2.constants.NGHTTP2_CANCEL)
      await new Promise(setImmediate)
    }
    expect(session.destroyed).toBe(true)
    await closed
    await app.client.startSignature(startRequest())
  })
})

describe('for people and probes', () => {
  const buf = (...args: string[]) =>
    promisify(execFile)(join(import.meta.dirname, '../../node_modules/.bin/buf'), args, { encoding: 'utf8' })

  test('buf curl starts a signature without a schema', async () => {
    const request = {
      idempotency_key: 'from-a-terminal',
      customer_id: 'customer-1',
      phone_number: '+34600111222',
      transaction: {
        amount: { currency_code: 'EUR', units: 125, nanos: 500_000_000 },
        payee_name: 'ACME Ltd',
        payee_account: 'ES9121000418450200051332',
      },
    }
    const options = ['--protocol', 'grpc', '--http2-prior-knowledge', '-d', JSON.stringify(request)]
    const { stdout } = await buf('curl', ...options, `${app.url}${START}`)

    const { signature, challenge } = JSON.parse(stdout)
    expect(signature).toMatchObject({ status: 'SIGNATURE_STATUS_PENDING' })
    expect(challenge).toMatchObject({ provider: 'twilio-sms', maskedPhoneNumber: '+34*****222' })
    expect(app.sandbox.messages[0]?.sid).toBe(challenge.providerChallengeId)
    expect(await row(app, 'signature', signature.id)).toMatchObject({ status: 'PENDING' })
  })

  test('health tells of the server and of its service, and Watch begins with how things stand', async () => {
    const health = createClient(Health, createGrpcTransport({ baseUrl: app.url }))
    for (const service of ['', SignatureService.typeName]) {
      expect(await grpcJs.call(Health.method.check, { service })).toMatchObject({ status: Serving.SERVING })
      const leave = new AbortController()
      const updates = health.watch({ service }, { signal: leave.signal })[Symbol.asyncIterator]()
      expect(await updates.next()).toMatchObject({ value: { status: Serving.SERVING } })
      leave.abort()
    }
    expect(await grpcJsFailure(grpcJs.call(Health.method.check, { service: 'bank.Nothing' }))).toMatchObject({
      code: Code.NotFound,
    })
  })

  test('in production there is health but no reflection', async () => {
    const production = await app.replica({
      NODE_ENV: 'production',
      PUBLIC_WEBHOOK_URL: 'https://127.0.0.1:1',
      ...sandboxSettings(inject('accounts'), 'https://127.0.0.1:1'),
    })
    const transport = createGrpcTransport({ baseUrl: production.url })
    async function* requests() {
      yield { messageRequest: { case: 'listServices' as const, value: '' } }
    }
    const reflect = ({ url }: Pick<App, 'url'>) =>
      Array.fromAsync(
        createClient(ServerReflection, createGrpcTransport({ baseUrl: url })).serverReflectionInfo(requests()),
      )

    expect(await failure(reflect(production))).toMatchObject({ code: Code.Unimplemented })
    expect(await createClient(Health, transport).check({})).toMatchObject({ status: Serving.SERVING })
    expect(await reflect(app)).toHaveLength(1)
  })
})

describe('what is left of a call', () => {
  const method = `${SignatureService.typeName}/StartSignature`
  const duration_ms = expect.any(Number)

  test('each leaves one line with method, code, reason and duration', async () => {
    const replica = await app.replica()
    using client = createGrpcJsClient(replica.url)
    const { signature } = await client.call(startSignature, startRequest())
    const unknown = { signatureId: '01890a5d-ac96-774b-bcce-b302099a8057' }
    await grpcJsFailure(client.call(getSignature, unknown))
    await grpcJsFailure(client.call(startSignature, {}))
    await grpcJsFailure(client.send(START, Uint8Array.of(0xff)))

    await vi.waitFor(() => expect(rpcLines(replica)).toHaveLength(4), SOON)
    expect(rpcLines(replica)).toMatchObject([
      { level: 'info', method, code: 'OK', duration_ms, signature_id: signature?.id },
      {
        level: 'info',
        method: `${SignatureService.typeName}/GetSignature`,
        code: 'NOT_FOUND',
        reason: 'SIGNATURE_NOT_FOUND',
        duration_ms,
      },
      { level: 'info', method, code: 'INVALID_ARGUMENT', reason: 'INVALID_FIELD', duration_ms },
      { level: 'info', method, code: 'INVALID_ARGUMENT', reason: 'INVALID_FIELD', duration_ms },
    ])
  })

  test('a health probe leaves no line unless one asks for debug', async () => {
    const replica = await app.replica({ LOG_LEVEL: 'info' })
    for (const probed of [app, replica]) {
      const since = probed.logs.length
      using client = createGrpcJsClient(probed.url)
      await client.call(Health.method.check, {})
      // Comes after the probe's own line, if there is one.
      await grpcJsFailure(client.call(startSignature, {}))
      await vi.waitFor(() => expect(rpcLines(probed, since)).toContainEqual(expect.objectContaining({ method })), SOON)
      const probes = rpcLines(probed, since).filter((line) => line.method === 'grpc.health.v1.Health/Check')
      expect(probes).toMatchObject(probed === app ? [{ level: 'debug', code: 'OK' }] : [])
    }
  })

  test('a caller that gives up, in whatever way, is recorded as gone and not as malformed', async () => {
    const since = app.logs.length
    app.sandbox.failNext({ hang: true })
    expect(await failure(app.client.startSignature(startRequest(), { timeoutMs: 1_000 }))).toMatchObject({
      code: Code.DeadlineExceeded,
    })

    const called = app.sandbox.nextCall()
    app.sandbox.failNext({ hang: true })
    const session = http2.connect(app.url)
    const headers = { ':method': 'POST', ':path': START, 'content-type': 'application/grpc', te: 'trailers' }
    const stream = session.request(headers).on('error', () => {})
    stream.end(frame(validStart()))
    await called
    stream.close(http2.constants.NGHTTP2_INTERNAL_ERROR)

    await vi.waitFor(() => expect(rpcLines(app, since)).toHaveLength(2), SOON)
    session.destroy()
    const gone = { code: expect.stringMatching(/^(CANCELL?ED|DEADLINE_EXCEEDED)$/) }
    expect(rpcLines(app, since)).toMatchObject([gone, gone])
  })

  test('malformed requests are measured like any other', async () => {
    const replica = await app.replica()
    using client = createGrpcJsClient(replica.url)
    const measured = async (code: string) => {
      const label = `rpc_duration_seconds_count{method="${method}",code="${code}"} `
      const line = (await replica.metrics()).split('\n').find((text) => text.startsWith(label))
      return Number(line?.slice(label.length))
    }
    await client.call(startSignature, startRequest())
    await grpcJsFailure(client.call(startSignature, {}))
    await grpcJsFailure(client.send(START, Uint8Array.of(0xff)))
    await grpcJsFailure(client.send(START, textMessage(MIB + 1)))

    await vi.waitFor(async () => expect(await measured('RESOURCE_EXHAUSTED')).toBe(1), SOON)
    expect(await measured('INVALID_ARGUMENT')).toBe(2)
    expect(await measured('OK')).toBe(1)
  })
})

test('a client that never closes its connection does not keep the service from stopping', async () => {
  const replica = await app.replica()
  const socket = connect({ port: replica.server.grpcPort, host: '127.0.0.1', allowHalfOpen: true })
  const settings = Uint8Array.of(0, 0, 0, 4, 0, 0, 0, 0, 0)
  socket.on('error', () => {}).write('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n')
  socket.write(settings)
  await once(socket, 'data')

  const stopped = replica[Symbol.asyncDispose]()
  await once(socket, 'end')
  const overdue = AbortSignal.timeout(10_000)
  await Promise.race([stopped, once(overdue, 'abort')])
  socket.destroy()
  expect(overdue.aborted).toBe(false)
})

test('a bug is INTERNAL with a correlation id that the log has, and tells the caller nothing else', async () => {
  await using broken = await startApp()
  using client = createGrpcJsClient(broken.url)
  await sql`ALTER TABLE signature DROP COLUMN payee_account`.execute(broken.db)

  const error = await grpcJsFailure(client.call(startSignature, startRequest()))

  const { correlation_id } = error.metadata
  expect(error).toEqual({
    code: Code.Internal,
    message: 'internal error',
    reason: 'INTERNAL',
    metadata: { correlation_id: expect.stringMatching(/^[0-9a-f-]{36}$/) },
    fields: [],
    retryDelayMs: undefined,
  })
  // 42703: undefined_column.
  expect(broken.logs).toContainEqual(
    expect.objectContaining({
      level: 'error',
      msg: 'bug',
      correlation_id,
      error: expect.objectContaining({ code: '42703' }),
    }),
  )
  await vi.waitFor(
    () => expect(rpcLines(broken)).toContainEqual(expect.objectContaining({ code: 'INTERNAL', correlation_id })),
    SOON,
  )
  expect(broken.sandbox.calls).toHaveLength(0)
})
