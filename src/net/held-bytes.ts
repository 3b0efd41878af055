/** The memory of one unfinished request. Disposing stops counting it. */
export interface Hold extends Disposable {
  /** Adds `bytes` to what the request holds. */
  add(bytes: number): void
}

/** What a request holds besides its body: its headers, and Node's objects for it. */
const REQUEST_BYTES = 16 * 1024

/**
 * Counts the bytes that unfinished requests hold, over all connections. While they hold more than `mostBytes`, the oldest
 * request is dropped and its `cut` called, so that a slow request can't keep out those that arrive at once.
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
