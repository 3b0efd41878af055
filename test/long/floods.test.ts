import { once } from 'node:events'
import http2 from 'node:http2'
import { setTimeout as sleep } from 'node:timers/promises'
import { gzipSync } from 'node:zlib'
import { create, type DescMessage, type DescMethodUnary, type MessageInitShape, toBinary } from '@bufbuild/protobuf'
import { Code, createClient } from '@connectrpc/connect'
import { createGrpcTransport } from '@connectrpc/connect-node'
import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { SignatureService } from '../../gen/bank/signature/v1/signature_pb.ts'
import { Health } from '../../gen/health/v1/health_pb.ts'
import { startRequest } from '../support/app.ts'
import { pathOf, readFailure } from '../support/grpc-js.ts'
import {
  END_HEADERS,
  END_STREAM,
  FRAME,
  frame,
  grpcHeaders,
  message,
  openRaw,
  type RawConnection,
  uint32,
} from '../support/raw-http2.ts'
import { connect, get, killLeftovers, ownDatabase, type ServiceProcess, serve } from '../support/service-process.ts'

const { startSignature, listSignatures, watchSignature } = SignatureService.method
const START = pathOf(startSignature)
const MIB = 1024 * 1024
const FRAME_BYTES = 16_384
const FLOOD_MS = 800
/** What the process may need more than before: three hundred streams may each hold a megabyte. Not held back, clients take gigabytes. */
const MOST_MIB = 400
/** For probes and other clients, on a machine that has more to do. */
const PROMPT_MS = 10_000

let service: ServiceProcess
let signatureId = ''
beforeAll(async () => {
  service = await serve(await ownDatabase())
  const client = connect(service.grpcUrl)
  // Also what the process needs in any case.
  const startSome = async () => {
    for (let n = 0; n < 20; n += 1) signatureId = (await client.startSignature(startRequest())).signature?.id ?? ''
  }
  await Promise.all(Array.from({ length: 8 }, startSome))
})
afterAll(killLeftovers)

interface Attack {
  connections?: number
  window?: number
  read?: boolean
  /** How many of the connections must not last. */
  closed?: number
  run(connection: RawConnection): Promise<unknown>
}

const streamId = (n: number) => 2 * n + 1
const streams = (count: number) => Array.from({ length: count }, (_, n) => streamId(n))

function open(stream: number, path = START, more: [name: string, value: string][] = []): Buffer {
  return frame(FRAME.HEADERS, END_HEADERS, stream, grpcHeaders(path, more))
}

/** A request's headers in as many frames as they need. */
function openLong(stream: number, more: [name: string, value: string][]): Buffer {
  const [first, ...rest] = pieces(grpcHeaders(START, more))
  const continued = rest.map((piece, n) =>
    frame(FRAME.CONTINUATION, n === rest.length - 1 ? END_HEADERS : 0, stream, piece),
  )
  return Buffer.concat([frame(FRAME.HEADERS, END_STREAM, stream, first), ...continued])
}

function data(stream: number, bytes: Uint8Array): Buffer {
  return Buffer.concat(pieces(bytes).map((piece) => frame(FRAME.DATA, 0, stream, piece)))
}

function end(stream: number): Buffer {
  return frame(FRAME.DATA, END_STREAM, stream)
}

function pieces(bytes: Uint8Array): Uint8Array[] {
  return Array.from({ length: Math.ceil(bytes.length / FRAME_BYTES) }, (_, n) =>
    bytes.subarray(n * FRAME_BYTES, (n + 1) * FRAME_BYTES),
  )
}

/** Frames without end, so many at a time. */
function endless(
  make: (n: number) => Uint8Array,
  { atOnce = 500, before = Buffer.alloc(0) }: { atOnce?: number; before?: Uint8Array } = {},
): Attack['run'] {
  return async (connection) => {
    await connection.send(before)
    const until = performance.now() + FLOOD_MS
    for (let n = 0; performance.now() < until && !connection.socket.destroyed; n += atOnce) {
      await connection.send(...Array.from({ length: atOnce }, (_, k) => make(n + k)))
      await new Promise(setImmediate)
    }
  }
}

/** The same on a hundred streams, which then stay. */
function hundredfold(make: (stream: number) => Uint8Array): Attack['run'] {
  return async (connection) => {
    for (const stream of streams(100)) await connection.send(make(stream))
    await sleep(FLOOD_MS)
  }
}

function request<I extends DescMessage, O extends DescMessage>(
  method: Pick<DescMethodUnary<I, O>, 'input' | 'parent' | 'name'>,
  init: MessageInitShape<I>,
) {
  const bytes = message(toBinary(method.input, create(method.input, init)))
  return (stream: number) => Buffer.concat([open(stream, pathOf(method)), data(stream, bytes), end(stream)])
}

const headers = (count: number, bytes: number) =>
  Array.from({ length: count }, (_, n): [string, string] => [`x-${n}`, 'v'.repeat(bytes)])
/** Fits into what a stream may send before it is read. */
const bomb = message(gzipSync(Buffer.alloc(60 * MIB)), { flags: 1 })

const attacks: Record<string, Attack> = {
  'streams that are reset at once': {
    closed: 1,
    run: endless((n) => Buffer.concat([open(streamId(n)), frame(FRAME.RST_STREAM, 0, streamId(n), uint32(8))])),
  },
  SETTINGS: { closed: 3, run: endless(() => frame(FRAME.SETTINGS, 0, 0)) },
  'SETTINGS whose answers are not read': { read: false, run: endless(() => frame(FRAME.SETTINGS, 0, 0)) },
  PING: { run: endless(() => frame(FRAME.PING, 0, 0, Buffer.alloc(8))) },
  'PING whose answers are not read': { read: false, run: endless(() => frame(FRAME.PING, 0, 0, Buffer.alloc(8))) },
  WINDOW_UPDATE: { run: endless(() => frame(FRAME.WINDOW_UPDATE, 0, 0, uint32(1))) },
  PRIORITY: { run: endless((n) => frame(FRAME.PRIORITY, 0, streamId(n), Buffer.alloc(5))) },
  'empty DATA': { run: endless(() => frame(FRAME.DATA, 0, 1), { before: open(1) }) },
  CONTINUATION: {
    closed: 3,
    run: endless((n) => frame(FRAME.CONTINUATION, 0, 1, grpcHeaders(`/${n}`)), {
      before: frame(FRAME.HEADERS, 0, 1, grpcHeaders(START)),
    }),
  },
  '2,000 headers': { run: endless((n) => openLong(streamId(n), headers(2_000, 1)), { atOnce: 5 }) },
  'a megabyte of headers': { run: endless((n) => openLong(streamId(n), headers(100, 10_000)), { atOnce: 5 }) },
  'messages that claim 40 MB': {
    run: endless(
      (n) => Buffer.concat([open(streamId(n)), data(streamId(n), message(Buffer.of(0), { length: 40 * MIB }))]),
      { atOnce: 50 },
    ),
  },
  'messages of 40 MB': {
    run: (connection) =>
      connection.send(open(1), data(1, message(Buffer.alloc(40 * MIB))), end(1)).then(() => sleep(FLOOD_MS)),
  },
  'messages that claim a megabyte and do not come': {
    connections: 20,
    run: hundredfold((stream) => Buffer.concat([open(stream), data(stream, message(Buffer.of(0), { length: MIB }))])),
  },
  'messages of a megabyte without their last byte': {
    connections: 4,
    async run(connection) {
      const part = Buffer.alloc(60_000)
      for (const stream of streams(100))
        await connection.send(open(stream), data(stream, message(part, { length: MIB })))
      for (let sent = part.length; sent + part.length < MIB; sent += part.length) {
        for (const stream of streams(100)) await connection.send(data(stream, part))
      }
      await sleep(FLOOD_MS)
    },
  },
  'a message in single bytes': {
    run: endless(() => frame(FRAME.DATA, 0, 1, Buffer.of(0)), {
      before: Buffer.concat([open(1), data(1, message(new Uint8Array(), { length: MIB }))]),
    }),
  },
  'gzip bombs': {
    run: hundredfold((stream) =>
      Buffer.concat([open(stream, START, [['grpc-encoding', 'gzip']]), data(stream, bomb), end(stream)]),
    ),
  },
  'lists that are not read': {
    connections: 20,
    window: 0,
    run: (connection) => hundredfold(request(listSignatures, { customerId: 'customer-1', pageSize: 100 }))(connection),
  },
  'watches that are not read': {
    connections: 20,
    window: 0,
    run: (connection) => hundredfold(request(watchSignature, { signatureId }))(connection),
  },
  'more connections than there may be': { connections: 1_200, closed: 200, run: () => sleep(FLOOD_MS) },
}

async function residentMib(): Promise<number> {
  const page = await (await fetch(`${service.admin}/metrics`)).text()
  return Number(/^process_resident_memory_bytes (\d+)/m.exec(page)?.[1]) / MIB
}

test.each(Object.entries(attacks))(
  '%s: others are served, and memory stays bounded',
  async (_, attack) => {
    const { connections = 3, window, read, run } = attack
    const health = createClient(Health, createGrpcTransport({ baseUrl: service.grpcUrl }))
    const client = connect(service.grpcUrl)
    const serveOthers = async () => {
      await health.check({}, { timeoutMs: PROMPT_MS })
      await client.startSignature(startRequest(), { timeoutMs: PROMPT_MS })
      const signal = AbortSignal.timeout(PROMPT_MS)
      for (const page of ['livez', 'readyz']) expect(await get(`${service.admin}/${page}`, { signal })).toBe(200)
      return residentMib()
    }
    const beforeMib = await serveOthers()

    const opened = await Promise.all(
      Array.from({ length: connections }, () => openRaw(service.grpcUrl, { window, read })),
    )
    const attacking = Promise.all(opened.map(run))
    let over = false
    void attacking.then(() => {
      over = true
    })
    const resident: number[] = []
    do resident.push(await serveOthers())
    while (!over)
    await attacking
    const closed = () => opened.filter(({ socket }) => socket.destroyed).length
    await vi.waitFor(() => expect(closed()).toBeGreaterThanOrEqual(attack.closed ?? 0), PROMPT_MS)
    for (const { socket } of opened) socket.destroy()

    expect(Math.max(...resident) - beforeMib).toBeLessThan(MOST_MIB)
    // A new connection finds its place again.
    await connect(service.grpcUrl).startSignature(startRequest(), { timeoutMs: PROMPT_MS })
  },
  60_000,
)

test('of small requests that do not come to their end the first are told OVERLOADED, and others are served', async () => {
  const first = http2.connect(service.grpcUrl)
  const headers = { ':method': 'POST', ':path': START, 'content-type': 'application/grpc', te: 'trailers' }
  const stream = first.request(headers)
  const answered = once(stream, 'response')
  const half = message(Buffer.alloc(4_000), { length: 8_000 })
  stream.write(half)
  await once(first, 'remoteSettings')

  const opened = await Promise.all(Array.from({ length: 40 }, () => openRaw(service.grpcUrl)))
  for (const connection of opened) {
    await connection.send(...streams(100).map((stream) => Buffer.concat([open(stream), data(stream, half)])))
  }

  const [{ 'grpc-status': status, 'grpc-message': text, 'grpc-status-details-bin': details }] = await answered
  expect(readFailure(Number(status), text, Buffer.from(details, 'base64'))).toMatchObject({
    code: Code.Unavailable,
    reason: 'OVERLOADED',
    retryDelayMs: 1_000,
  })
  await connect(service.grpcUrl).startSignature(startRequest(), { timeoutMs: PROMPT_MS })
  first.destroy()
  for (const { socket } of opened) socket.destroy()
})
