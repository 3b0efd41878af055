import { overloaded } from '../errors.ts'
import { toConnectError } from './errors.ts'

type Body = AsyncIterable<Uint8Array>

/** A byte of flags and four of length. */
const HEAD_BYTES = 5
/** Calls of honest size are served whatever the others hold. */
const SMALL_BYTES = 16 * 1024
/** What the others may hold together until they are whole, over all connections. */
const MAX_HELD_BYTES = 64 * 1024 * 1024

/**
 * Gives a request's bytes message by message. Connect sets memory aside for whatever length a message claims, and looks at
 * all of its pieces again with each that comes: a claim would cost a megabyte, and a megabyte in single bytes hours.
 * A message that claims more than it may have is passed on as it is, to be refused.
 */
export function createBodyReader(maxMessageBytes: number): (body: Body) => AsyncGenerator<Uint8Array<ArrayBuffer>> {
  let heldBytes = 0

  return async function* wholeMessages(body) {
    let buffer = Buffer.alloc(0)
    let length = 0
    const grow = (size: number) => {
      if (size > SMALL_BYTES && heldBytes + size > MAX_HELD_BYTES) {
        throw toConnectError(overloaded('too many large requests at once'))
      }
      const larger = Buffer.alloc(size)
      buffer.copy(larger, 0, 0, length)
      heldBytes += size - buffer.length
      buffer = larger
    }
    try {
      for await (const chunk of body) {
        if (length + chunk.length > buffer.length) grow(2 * (length + chunk.length))
        buffer.set(chunk, length)
        length += chunk.length
        while (length >= HEAD_BYTES) {
          const claimed = buffer.readUInt32BE(1)
          const end = claimed > maxMessageBytes ? length : HEAD_BYTES + claimed
          if (length < end) break
          yield buffer.subarray(0, end)
          buffer.copyWithin(0, end, length)
          length -= end
        }
      }
      if (length > 0) yield buffer.subarray(0, length)
    } finally {
      heldBytes -= buffer.length
    }
  }
}
