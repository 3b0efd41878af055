/**
 * Joins fields so that no two different lists give the same bytes: each field is preceded by its length in bytes, as 32
 * bits big-endian. For hashing.
 */
export function lengthPrefixed(fields: readonly (string | Buffer)[]): Buffer {
  return Buffer.concat(
    fields.flatMap((field) => {
      const bytes = Buffer.from(field)
      const length = Buffer.alloc(4)
      length.writeUInt32BE(bytes.length)
      return [length, bytes]
    }),
  )
}
