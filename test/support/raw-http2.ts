import { once } from 'node:events'
import { connect, type Socket } from 'node:net'

/** https://www.rfc-editor.org/rfc/rfc9113#section-6 */
export const FRAME = {
  DATA: 0,
  HEADERS: 1,
  PRIORITY: 2,
  RST_STREAM: 3,
  SETTINGS: 4,
  PING: 6,
  WINDOW_UPDATE: 8,
  CONTINUATION: 9,
}
export const END_STREAM = 1
export const END_HEADERS = 4
const INITIAL_WINDOW_SIZE = 4
const PREFACE = 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'

export function frame(type: number, flags: number, stream: number, payload: Uint8Array = new Uint8Array()): Buffer {
  const head = Buffer.alloc(9)
  head.writeUIntBE(payload.length, 0, 3)
  head.writeUInt8(type, 3)
  head.writeUInt8(flags, 4)
  head.writeUInt32BE(stream, 5)
  return Buffer.concat([head, payload])
}

export function uint32(value: number): Buffer {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32BE(value)
  return bytes
}

/** Header fields as HPACK writes them without any compression. */
function headerBlock(fields: [name: string, value: string][]): Buffer {
  const text = (value: string) => Buffer.concat([hpackLength(value.length), Buffer.from(value)])
  return Buffer.concat(fields.flatMap(([name, value]) => [Buffer.of(0), text(name), text(value)]))
}

function hpackLength(length: number): Buffer {
  if (length < 127) return Buffer.of(length)
  const bytes = [127]
  let rest = length - 127
  for (; rest >= 128; rest = Math.floor(rest / 128)) bytes.push((rest % 128) | 128)
  return Buffer.of(...bytes, rest)
}

/** A message as gRPC frames it: a byte of flags, its length, its bytes. */
export function message(bytes: Uint8Array, { flags = 0, length = bytes.length } = {}): Buffer {
  return Buffer.concat([Buffer.of(flags), uint32(length), bytes])
}

/** The header fields of a gRPC request. */
export function grpcHeaders(path: string, more: [name: string, value: string][] = []): Buffer {
  return headerBlock([
    [':method', 'POST'],
    [':scheme', 'http'],
    [':path', path],
    [':authority', 'bank'],
    ['content-type', 'application/grpc'],
    ['te', 'trailers'],
    ...more,
  ])
}

/** A connection that says what it is told to, and of which it is told what was answered. */
export interface RawConnection {
  readonly socket: Socket
  /** Resolves once that was taken by the network, or the connection has gone. */
  send(...bytes: Uint8Array[]): Promise<void>
  readonly closed: Promise<unknown>
}

/**
 * Opens an HTTP/2 connection. With `window` 0 the server may send no byte of an answer; with `read` false none of what it
 * sends is read.
 */
export async function openRaw(
  url: string,
  { window = 65_535, read = true }: { window?: number | undefined; read?: boolean | undefined } = {},
): Promise<RawConnection> {
  const { port, hostname } = new URL(url)
  const socket = connect({ port: Number(port), host: hostname })
  const closed = new Promise((resolve) => socket.on('error', () => {}).once('close', resolve))
  await Promise.race([once(socket, 'connect'), closed])
  if (read) socket.resume()
  const connection: RawConnection = {
    socket,
    closed,
    async send(...bytes) {
      if (socket.destroyed || socket.write(Buffer.concat(bytes))) return
      await Promise.race([new Promise((resolve) => socket.once('drain', resolve)), closed])
    },
  }
  const settings = Buffer.concat([Buffer.of(0, INITIAL_WINDOW_SIZE), uint32(window)])
  await connection.send(Buffer.from(PREFACE), frame(FRAME.SETTINGS, 0, 0, settings))
  return connection
}

/** The frames that come on a connection that was opened with `read` false. */
export async function* framesOf({
  socket,
}: RawConnection): AsyncGenerator<{ type: number; flags: number; stream: number; payload: Buffer }> {
  let bytes = Buffer.alloc(0)
  for await (const chunk of socket as AsyncIterable<Buffer>) {
    bytes = Buffer.concat([bytes, chunk])
    for (let end = endOf(bytes); end <= bytes.length; end = endOf(bytes)) {
      yield {
        type: bytes.readUInt8(3),
        flags: bytes.readUInt8(4),
        stream: bytes.readUInt32BE(5),
        payload: bytes.subarray(HEAD_BYTES, end),
      }
      bytes = bytes.subarray(end)
    }
  }
}

const HEAD_BYTES = 9

function endOf(bytes: Buffer): number {
  return bytes.length < HEAD_BYTES ? Number.POSITIVE_INFINITY : HEAD_BYTES + bytes.readUIntBE(0, 3)
}
