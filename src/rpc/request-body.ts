import type { Http2ServerRequest } from 'node:http2'
import type { DescMessage } from '@bufbuild/protobuf'
import { Code, ConnectError } from '@connectrpc/connect'
import { compressionGzip } from '@connectrpc/connect-node'
import { createGrowing } from '../net/growing.ts'
import { createHeldBytes, type Hold } from '../net/held-bytes.ts'
import { countParts } from './message-parts.ts'

/** A message's bytes as gRPC frames them: a byte of flags, four of length, and the message. */
type Frame = Uint8Array<ArrayBuffer>

export interface BodyLimits {
  /** Of one message, also of one that is unpacked. */
  maxMessageBytes: number
  input: DescMessage
  /** The request has to make room for others. */
  cut: () => void
}

const HEAD_BYTES = 5
const COMPRESSED = 1
/** What all unfinished requests may hold together. */
const MAX_HELD_BYTES = 64 * 1024 * 1024
/** More than the largest routing table has. */
const MAX_PARTS = 40_000

/**
 * Gives a request's bytes message by message, unpacked. Connect sets memory aside for whatever length a message claims,
 * looks at all of its pieces again with each that comes, and parses whatever fits: a claim would cost a megabyte, one in
 * single bytes hours, and one of empty parts a hundred times its size. Throws RESOURCE_EXHAUSTED for a message that is too
 * large. What else is wrong is left to Connect.
 */
export function createBodyReader(): (request: Http2ServerRequest, limits: BodyLimits) => AsyncGenerator<Frame> {
  const holdBytes = createHeldBytes(MAX_HELD_BYTES)

  return async function* readMessages(request, limits) {
    const isGzip = request.headers['grpc-encoding'] === 'gzip'
    using hold = holdBytes(limits.cut)
    // The beginning of a message whose end has not come. Most requests come in one chunk, which is not copied.
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
  if (countParts(input, frame.subarray(HEAD_BYTES), MAX_PARTS) > MAX_PARTS) throw tooLarge(`${MAX_PARTS} parts`)
  return frame
}

function tooLarge(most: string): ConnectError {
  return new ConnectError(`a message may have at most ${most}`, Code.ResourceExhausted)
}
