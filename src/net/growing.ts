import type { Hold } from './held-bytes.ts'

/** A buffer that grows. It copies what is written: a piece may be a view that keeps a whole network read in memory. */
export interface Growing {
  readonly bytes: Buffer<ArrayBuffer>
  /** Writes `piece` at `at` and drops any bytes after it. */
  write(piece: Uint8Array, at: number): void
}

/** Creates an empty buffer, whose memory is counted by `hold`. */
export function createGrowing(hold: Hold): Growing {
  let memory = Buffer.alloc(0)
  let length = 0
  return {
    get bytes() {
      return memory.subarray(0, length)
    },
    write(piece, at) {
      length = at + piece.length
      if (length > memory.length) {
        const larger = Buffer.alloc(2 * length)
        hold.add(larger.length - memory.length)
        memory.copy(larger, 0, 0, at)
        memory = larger
      }
      memory.set(piece, at)
    },
  }
}
