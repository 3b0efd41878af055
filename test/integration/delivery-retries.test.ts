import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'
import { describe, expect, test } from 'vitest'
import { SignatureStatus } from '../../gen/bank/signature/v1/signature_pb.ts'
import { failure, startApp, startRequest, transaction } from '../support/app.ts'
import {
  attempts,
  type Ended,
  expectFailed,
  expectSent,
  expectUnknown,
  expectWaits,
  oneCode,
  SENT,
  times,
} from '../support/delivery-outcome.ts'

/** The waits that production has; each test has a service and a simulator of its own, as they run side by side. */
const REAL_WAITS = { DELIVERY_BACKOFF_MS: '500' }
const TIMEOUT_MS = 300
const SHORT_TIMEOUT = { ...REAL_WAITS, TWILIO_TIMEOUT_SECONDS: String(TIMEOUT_MS / 1_000) }
const HTTP_500: Ended = ['transient', '20500']
const TIMED_OUT: Ended = ['unknown', 'TIMEOUT']
const RESET: Ended = ['unknown', 'ECONNRESET']

describe.concurrent('a delivery', () => {
  test('is given up after four calls that a 500 answered, and a repeated start calls no more', async () => {
    await using app = await startApp(REAL_WAITS)
    app.sandbox.failNext({ status: 500 }, { status: 500 }, { status: 500 }, { status: 500 })
    const request = startRequest()

    const error = await failure(app.client.startSignature(request))

    await expectFailed(app, error, 'PROVIDER_UNAVAILABLE', times(4, HTTP_500))
    expectWaits(arrivals(app), [500, 1000, 2000])
    oneCode(app.sandbox.calls)
    expect(await failure(app.client.startSignature(request))).toEqual(error)
    expect(app.sandbox.calls).toHaveLength(4)
  })

  test('tells each call how many seconds its code still has', async () => {
    await using app = await startApp(REAL_WAITS)
    app.sandbox.failNext({ status: 500 }, { status: 500 }, { status: 500 })

    await expectSent(app, await app.client.startSignature(startRequest()), [...times(3, HTTP_500), SENT])

    const validity = app.sandbox.calls.map(({ form }) => Number(form.get('ValidityPeriod')))
    const [first = 0] = arrivals(app)
    for (const [index, atMs] of arrivals(app).entries()) {
      const left = 300 - (atMs - first) / 1_000
      expect(validity[index]).toBeLessThanOrEqual(left)
      expect(validity[index]).toBeGreaterThan(left - 2)
    }
  })

  test('ends with the first success after a 500', async () => {
    await using app = await startApp(REAL_WAITS)
    app.sandbox.failNext({ status: 500 })

    await expectSent(app, await app.client.startSignature(startRequest()), [HTTP_500, SENT])

    expectWaits(arrivals(app), [500])
    oneCode(app.sandbox.calls)
    expect(app.sandbox.messages).toHaveLength(1)
  })

  test('is tried four times against a port that refuses connections', async () => {
    await using refusing = await refusingPort()
    await using app = await startApp({ ...REAL_WAITS, TWILIO_API_URL: refusing.url })

    const error = await failure(app.client.startSignature(startRequest()))

    await expectFailed(app, error, 'PROVIDER_UNAVAILABLE', times(4, ['transient', 'ECONNREFUSED']))
    const calls = await attempts(app, error.metadata.challenge_id)
    // Whole milliseconds: a wait may look one shorter than it was.
    expectWaits(
      calls.map(({ started_at }, index) => started_at.getTime() + index),
      [500, 1000, 2000],
    )
  })

  test('is surely not sent when the other side speaks no TLS', async () => {
    await using app = await startApp()
    await using replica = await app.replica({ TWILIO_API_URL: app.sandbox.url.replace('http:', 'https:') })

    const error = await failure(replica.client.startSignature(startRequest()))

    const { provider_error_code = '' } = error.metadata
    await expectFailed(app, error, 'PROVIDER_UNAVAILABLE', times(4, ['transient', provider_error_code]))
    expect(app.sandbox.calls).toHaveLength(0)
  })

  test('is surely not sent when the TLS handshake never ends', async () => {
    await using silent = await silentPort()
    await using app = await startApp({ TWILIO_API_URL: silent.url, TWILIO_TIMEOUT_SECONDS: '0.2' })

    const error = await failure(app.client.startSignature(startRequest()))

    await expectFailed(app, error, 'PROVIDER_UNAVAILABLE', times(4, ['transient', 'TIMEOUT']))
  })

  test('is tried four times against a provider that is too busy', async () => {
    await using app = await startApp(REAL_WAITS)
    app.sandbox.failNext({ status: 429 }, { status: 429 }, { status: 429 }, { status: 429 })

    const error = await failure(app.client.startSignature(startRequest()))

    await expectFailed(app, error, 'PROVIDER_UNAVAILABLE', times(4, ['transient', '20429']))
    expectWaits(arrivals(app), [500, 1000, 2000])
  })

  test('waits as long as a 429 asks, and never shorter than without its word', async () => {
    await using app = await startApp(REAL_WAITS)
    app.sandbox.failNext(...[1, 0, 1].map((retryAfterSeconds) => ({ status: 429, retryAfterSeconds })))

    const answer = await app.client.startSignature(startRequest())

    await expectSent(app, answer, [...times(3, ['transient', '20429']), SENT])
    expectWaits(arrivals(app), [1000, 1000, 2000])
  })

  test('whose four calls all time out may have arrived, so its code still signs', async () => {
    await using app = await startApp(SHORT_TIMEOUT)
    app.sandbox.failNext({ hang: true }, { hang: true, sent: true }, { hang: true }, { hang: true })
    const request = startRequest()

    const answer = await app.client.startSignature(request)

    await expectUnknown(app, answer, times(4, TIMED_OUT))
    expectWaits(arrivals(app), [500, 1000, 2000], TIMEOUT_MS)
    expect(await app.client.startSignature(request)).toEqual(answer)
    expect(app.sandbox.calls).toHaveLength(4)
    const code = oneCode(app.sandbox.calls)
    expect(app.sandbox.messages[0]?.body).toContain(code)
    const { signature } = await app.client.completeSignature({
      signatureId: answer.signature?.id ?? '',
      code,
      transaction: transaction(),
    })
    expect(signature?.status).toBe(SignatureStatus.SIGNED)
  })

  test('stays unknown when one call timed out, whatever the others were answered', async () => {
    await using app = await startApp(SHORT_TIMEOUT)
    app.sandbox.failNext({ hang: true, sent: true }, { status: 500 }, { status: 500 }, { status: 500 })

    await expectUnknown(app, await app.client.startSignature(startRequest()), [TIMED_OUT, ...times(3, HTTP_500)])

    expectWaits(arrivals(app), [500, 1000, 2000], TIMEOUT_MS)
    oneCode(app.sandbox.calls)
  })

  test('is known to be sent when a call succeeds after one that timed out', async () => {
    await using app = await startApp(SHORT_TIMEOUT)
    app.sandbox.failNext({ hang: true })

    await expectSent(app, await app.client.startSignature(startRequest()), [TIMED_OUT, SENT])

    expectWaits(arrivals(app), [500], TIMEOUT_MS)
    oneCode(app.sandbox.calls)
  })

  test('whose four calls are all reset after the request was read may have arrived', async () => {
    await using app = await startApp(REAL_WAITS)
    app.sandbox.failNext({ reset: true, sent: true }, { reset: true }, { reset: true }, { reset: true })

    await expectUnknown(app, await app.client.startSignature(startRequest()), times(4, RESET))

    expectWaits(arrivals(app), [500, 1000, 2000])
    oneCode(app.sandbox.calls)
  })

  test('is cut five seconds after it began when the answer only drips, and is not tried again', async () => {
    await using app = await startApp()
    app.sandbox.failNext({ drip: true, sent: true })
    const startedMs = performance.now()

    const answer = await app.client.startSignature(startRequest())

    const tookMs = performance.now() - startedMs
    expect(tookMs).toBeGreaterThanOrEqual(5_000)
    expect(tookMs).toBeLessThan(10_000)
    await expectUnknown(app, answer, [['unproven', 'TIMEOUT']])
    expect(app.sandbox.calls).toHaveLength(1)
  })
})

function arrivals({ sandbox }: { sandbox: { calls: readonly { atMs: number }[] } }): number[] {
  return sandbox.calls.map(({ atMs }) => atMs)
}

/** An address that refuses connections, for sure: its port is one end of a connection, so that nobody can listen on it. */
async function refusingPort() {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const socket = connect((server.address() as AddressInfo).port, '127.0.0.1')
  await once(socket, 'connect')
  return {
    url: `http://127.0.0.1:${socket.localPort}`,
    async [Symbol.asyncDispose]() {
      socket.destroy()
      server.close()
      await once(server, 'close')
    },
  }
}

/** An address that takes connections and says nothing. */
async function silentPort() {
  const sockets: Socket[] = []
  const server = createServer((socket) => sockets.push(socket)).listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    url: `https://127.0.0.1:${(server.address() as AddressInfo).port}`,
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy()
      server.close()
      await once(server, 'close')
    },
  }
}
