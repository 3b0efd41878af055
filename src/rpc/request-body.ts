import type { Http2ServerRequest } from 'node:http2'
import type { DescMessage } from '@bufbuild/protobuf'
import { Code, ConnectError } from '@connectrpc/connect'
import { compressionGzip } from '@connectrpc/connect-node'
import { createGrowing } from '../net/growing.ts'
import { createHeldBytes, type Hold } from '../net/held-bytes.ts'
import { countParts } from './message-parts.ts'

/** A message in gRPC's framing: a byte of flags, four bytes of length, and the message. */
type Frame = Uint8Array<ArrayBuffer>

export interface BodyLimits {
  /** The most bytes of one message, before and after decompression. */
  maxMessageBytes: number
  /** The type of the messages. */
  input: DescMessage
  /** Called if the request has to make room for others. */
  cut: () => void
}

const HEAD_BYTES = 5
const COMPRESSED = 1
/** The most bytes that all unfinished requests may hold together. */
const MAX_HELD_BYTES = 64 * 1024 * 1024
/** The most messages nested in a request. The largest routing table has fewer. */
const MAX_PARTS = 40_000

/**
 * Creates a reader that yields the messages of a request one by one, decompressed. It throws RESOURCE_EXHAUSTED for a
 * message that is too large, and leaves anything else that is wrong to Connect.
 *
 * Connect alone could be made to waste memory and time: it allocates the length that a message claims, goes through all
 * received pieces again with each new one, and parses messages of empty parts to a hundred times their size.
 */
export function createBodyReader(): (request: Http2ServerRequest, limits: BodyLimits) => AsyncGenerator<Frame> {
  const holdBytes = createHeldBytes(MAX_HELD_BYTES)

  return async function* readMessages(request, limits) {
    const isGzip = request.headers['grpc-encoding'] === 'gzip'
    using hold = holdBytes(limits.cut)
    // The beginning of a message that is not complete. Most requests come in one chunk, which is not copied.
    const rest = createGrowing(hold)
    for await (const chunk of request as AsyncIterable<Buffer<ArrayBuffer>>) {
      const before = rest.bytes.length
      if (before > 0) rest.write(chunk, before)
      const bytes = before > 0 ? rest.bytes : chunk
      let start = 0
      for (let end = endOfFrame(bytes, start, limits); end <= bytes.length; end = endOfFrame(bytes, start, limits)) {
        const frame = bytes.subarray(start, end)
        yield isGzip && frame[0] === COMPRESSED ? await unpack(frame, hold, limits) : checkParts(frame, limits)
        start = end
      }
      if (before === 0 || start > 0) rest.write(bytes.subarray(start), 0)
    }
    if (rest.bytes.length > 0) yield rest.bytes
  }
}

function endOfFrame(bytes: Buffer<ArrayBuffer>, start: number, { maxMessageBytes }: BodyLimits): number {
  if (bytes.length < start + HEAD_BYTES) return Number.POSITIVE_INFINITY
  const claimed = bytes.readUInt32BE(start + 1)
  if (claimed > maxMessageBytes) throw tooLarge(`${maxMessageBytes} bytes`)
  return start + HEAD_BYTES + claimed
}

async function unpack(frame: Frame, hold: Hold, limits: BodyLimits): Promise<Frame> {
  const message = await compressionGzip.decompress(frame.subarray(HEAD_BYTES), limits.maxMessageBytes)
  hold.add(message.length)
  const head = Buffer.alloc(HEAD_BYTES)
  head.writeUInt32BE(message.length, 1)
  return checkParts(Buffer.concat([head, message]), limits)
}

function checkParts(frame: Frame, { input }: BodyLimits): Frame {
  if (countParts(input, frame.subarray(HEAD_BYTES), MAX_PARTS) > MAX_PARTS)
    throw tooLarge(`${MAX_PARTS} nested messages`)
  return frame
}

function tooLarge(most: string): ConnectError {
  return new ConnectError(`a message may have at most ${most}`, Code.ResourceExhausted)
}
