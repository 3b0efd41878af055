import { afterAll, beforeAll, expect, test } from 'vitest'
import { AbortReason, SignatureService } from '../../gen/bank/signature/v1/signature_pb.ts'
import { type App, start, startApp, startRequest, typeName } from '../support/app.ts'
import { createGrpcJsClient } from '../support/grpc-js.ts'

let app: App
beforeAll(async () => {
  app = await startApp({ GRPC_MAX_CONNECTION_AGE_SECONDS: '1' })
})
afterAll(() => app[Symbol.asyncDispose]())

const { startSignature, getSignature } = SignatureService.method

/** Node's HTTP/2 drops what it has not written yet when a GOAWAY comes, which grpc-js makes up for and Connect does not. */
async function unlessRefused<T>(call: () => Promise<T>): Promise<T> {
  return call().catch((error) => {
    if (/NGHTTP2_REFUSED_STREAM/.test(String(error))) return unlessRefused(call)
    throw error
  })
}

test('clients lose no call and no stream when their connections end of age', async () => {
  using grpcJs = createGrpcJsClient(app.url)
  const { signatureId } = await start(app)
  const events: string[] = []
  const watching = (async () => {
    for await (const { event } of app.client.watchSignature({ signatureId })) events.push(typeName(event?.type))
  })()

  const until = performance.now() + 3_500
  const clients = [
    () => unlessRefused(() => app.client.startSignature(startRequest())),
    () => unlessRefused(() => app.client.getSignature({ signatureId })),
    () => grpcJs.call(startSignature, startRequest()),
    () => grpcJs.call(getSignature, { signatureId }),
  ]
  const calls = clients.map(async (call) => {
    for (let count = 0; performance.now() < until || count < 4; count += 1) await call()
  })
  await Promise.all(calls)

  // The stream has outlived the connection's age several times.
  await unlessRefused(() => app.client.abortSignature({ signatureId, reason: AbortReason.OPERATOR }))
  await watching
  expect(events.at(-1)).toBe('SIGNATURE_ABORTED')
})
