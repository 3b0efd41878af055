import { once } from 'node:events'
import http2 from 'node:http2'
import { connect } from 'node:net'
import { create, toBinary } from '@bufbuild/protobuf'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { ListSignaturesRequestSchema, SignatureService } from '../../gen/bank/signature/v1/signature_pb.ts'
import { type App, startApp, startRequest } from '../support/app.ts'
import { pathOf } from '../support/grpc-js.ts'
import { message } from '../support/raw-http2.ts'

let app: App
beforeAll(async () => {
  app = await startApp()
  for (let n = 0; n < 100; n += 1) await app.client.startSignature(startRequest())
})
afterAll(() => app[Symbol.asyncDispose]())

const { listSignatures, startSignature } = SignatureService.method
const LIST = message(
  toBinary(
    ListSignaturesRequestSchema,
    create(ListSignaturesRequestSchema, { customerId: 'customer-1', pageSize: 100 }),
  ),
)

function post(session: http2.ClientHttp2Session, path: string): http2.ClientHttp2Stream {
  const headers = { ':method': 'POST', ':path': path, 'content-type': 'application/grpc', te: 'trailers' }
  return session.request(headers).on('error', () => {})
}

/** How a stream ended, and after how many seconds. */
async function end(stream: http2.ClientHttp2Stream) {
  const startedMs = performance.now()
  await new Promise((resolve) => stream.once('close', resolve))
  return { code: stream.rstCode, seconds: (performance.now() - startedMs) / 1_000 }
}

const SOON = 20

test.concurrent('a request that does not come to its end is reset, and its connection lives on', async () => {
  const session = http2.connect(app.url)
  const stream = post(session, pathOf(startSignature))
  stream.write(message(new Uint8Array(), { length: 100 }))
  const drip = setInterval(() => stream.write(Buffer.of(1)), 500)
  const { code, seconds } = await end(stream.resume())
  clearInterval(drip)
  expect(code).toBe(http2.constants.NGHTTP2_CANCEL)
  expect(seconds).toBeLessThan(SOON)

  const next = post(session, pathOf(listSignatures))
  next.end(LIST)
  expect(await end(next.resume())).toMatchObject({ code: http2.constants.NGHTTP2_NO_ERROR })
  session.destroy()
}, 60_000)

test.concurrent('an answer that is not read is given up', async () => {
  const session = http2.connect(app.url, { settings: { initialWindowSize: 0 } })
  const stream = post(session, pathOf(listSignatures))
  stream.end(LIST)
  const { code, seconds } = await end(stream)
  expect(code).toBe(http2.constants.NGHTTP2_CANCEL)
  expect(seconds).toBeLessThan(SOON)
  session.destroy()
}, 60_000)

test.concurrent('a connection that never says that it speaks HTTP/2 is closed', async () => {
  const socket = connect(app.server.grpcPort, '127.0.0.1').on('error', () => {})
  const startedMs = performance.now()
  await once(socket.resume(), 'close')
  expect((performance.now() - startedMs) / 1_000).toBeLessThan(SOON)
}, 60_000)
