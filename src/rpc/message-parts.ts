import type { DescMessage } from '@bufbuild/protobuf'
import { BinaryReader, WireType } from '@bufbuild/protobuf/wire'

/**
 * Counts the messages within a message, no further than one more than `most`. Two bytes may be one, and take a hundred
 * once they are parsed. Of bytes that are no such message those up to there are counted, as no parser gets beyond.
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
    // The parser says what is wrong.
  }
  return parts
}
