import type { Hold } from './held-bytes.ts'

/** Bytes that come in pieces, in memory of their own: a piece may keep all that was read from the network with it. */
export interface Growing {
  readonly bytes: Buffer<ArrayBuffer>
  /** Puts a piece at a place; what there was from there on is gone. */
  write(piece: Uint8Array, at: number): void
}

/** Begins without a byte. What it takes is counted by `hold`. */
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
