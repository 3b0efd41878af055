import type { DescMessage } from '@bufbuild/protobuf'
import { BinaryReader, WireType } from '@bufbuild/protobuf/wire'

/**
 * Returns how many messages are nested in a message, counting up to `most` + 1. A nested message of two bytes takes a
 * hundred once it is parsed. In malformed bytes only those before the fault are counted: no parser gets further.
 */
export function countParts(type: DescMessage, bytes: Uint8Array, most: number): number {
  const reader = new BinaryReader(bytes)
  let parts = 0
  const count = ({ fields }: DescMessage, end: number): void => {
    while (reader.pos < end && parts <= most) {
      const [number, wireType] = reader.tag()
      const part = fields.find((field) => field.number === number)?.message
      if (part && wireType === WireType.LengthDelimited) {
        parts += 1
        count(part, reader.uint32() + reader.pos)
      } else reader.skip(wireType, number)
    }
  }
  try {
    count(type, bytes.length)
  } catch {
    // Malformed bytes: the parser reports them.
  }
  return parts
}
