import { once } from 'node:events'
import http2 from 'node:http2'
import { create, toBinary } from '@bufbuild/protobuf'
import { Code } from '@connectrpc/connect'
import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { SignatureService } from '../../gen/bank/signature/v1/signature_pb.ts'
import { type App, startApp, startRequest } from '../support/app.ts'
import { createGrpcJsClient, pathOf } from '../support/grpc-js.ts'
import { END_HEADERS, END_STREAM, FRAME, frame, framesOf, grpcHeaders, message, openRaw } from '../support/raw-http2.ts'
import { enable, pause } from '../support/routing.ts'

let app: App
beforeAll(async () => {
  app = await startApp()
})
afterAll(() => app[Symbol.asyncDispose]())

const { startSignature, watchSignature, listSignatures } = SignatureService.method
const NOTHING = message(new Uint8Array())

test.each([
  ['a unary call', startSignature, NOTHING],
  ['a stream', watchSignature, NOTHING],
  ['a message that is none', startSignature, message(Buffer.of(0xff))],
  ['a message that is too large', startSignature, message(Buffer.alloc(0), { length: 40_000 })],
])('%s that fails is answered with one frame of headers that ends the stream', async (_, method, body) => {
  const connection = await openRaw(app.url, { read: false })
  const frames = framesOf(connection)
  await connection.send(
    frame(FRAME.HEADERS, END_HEADERS, 1, grpcHeaders(pathOf(method))),
    frame(FRAME.DATA, END_STREAM, 1, body),
  )
  for await (const { type, flags, stream } of frames) {
    if (stream === 0) continue
    expect({ type, flags }).toEqual({ type: FRAME.HEADERS, flags: END_HEADERS | END_STREAM })
    break
  }
})

test('its headers are status, type and what gRPC says of the failure, in which only what must be is escaped', async () => {
  const session = http2.connect(app.url)
  const stream = session.request({
    ':method': 'POST',
    ':path': pathOf(listSignatures),
    'content-type': 'application/grpc',
    te: 'trailers',
  })
  stream.end(message(toBinary(listSignatures.input, create(listSignatures.input, { pageSize: 101, pageToken: 'x' }))))
  const [response] = await once(stream, 'response')
  const { date, ...headers } = Object.fromEntries(Object.entries(response))
  session.destroy()
  expect(date).toBeDefined()
  expect(headers).toEqual({
    ':status': 200,
    'content-type': expect.stringMatching(/^application\/grpc/),
    'grpc-status': String(Code.InvalidArgument),
    'grpc-message': 'page_size must be 0 to 100; page_token must be the next_page_token of a page',
    'grpc-status-details-bin': expect.stringMatching(/^[A-Za-z0-9+/]+$/),
  })
})

test('a client that was told to retry what is UNAVAILABLE does so, until it is served', async () => {
  const own = await app.replica()
  const retryPolicy = {
    maxAttempts: 5,
    initialBackoff: '0.2s',
    maxBackoff: '0.2s',
    backoffMultiplier: 1,
    retryableStatusCodes: ['UNAVAILABLE'],
  }
  using client = createGrpcJsClient(own.url, {
    'grpc.service_config': JSON.stringify({ loadBalancingConfig: [], methodConfig: [{ name: [{}], retryPolicy }] }),
  })
  const codes = () => own.logs.filter(({ msg }) => msg === 'rpc').map(({ code }) => code)
  await pause(own, 'twilio-sms')

  const call = client.call(startSignature, startRequest())
  await vi.waitFor(() => expect(codes().filter((code) => code === 'UNAVAILABLE').length).toBeGreaterThan(1), 10_000)
  await enable(own, 'twilio-sms')

  expect((await call).challenge).toMatchObject({ provider: 'twilio-sms' })
})
