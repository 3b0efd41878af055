/** The memory of one request that has not come to its end. Disposing gives it back. */
export interface Hold extends Disposable {
  /** Counts so many bytes more. */
  add(bytes: number): void
}

/** Besides what came of its body: its headers, and what Node keeps for it. */
const REQUEST_BYTES = 16 * 1024

/**
 * Counts what requests hold until they are whole, over all connections. While that is more than `mostBytes`, those that
 * have been on their way longest are cut: they make room for requests that come at once.
 */
export function createHeldBytes(mostBytes: number): (cut: () => void) => Hold {
  const holds = new Map<Hold, { bytes: number; cut: () => void }>()
  let held = 0

  return (cut) => {
    const own = { bytes: 0, cut }
    const hold: Hold = {
      add(bytes) {
        if (!holds.has(hold)) return
        own.bytes += bytes
        held += bytes
        for (const [longest, { cut }] of holds) {
          if (held <= mostBytes) break
          longest[Symbol.dispose]()
          cut()
        }
      },
      [Symbol.dispose]() {
        if (holds.delete(hold)) held -= own.bytes
      },
    }
    holds.set(hold, own)
    hold.add(REQUEST_BYTES)
    return hold
  }
}
