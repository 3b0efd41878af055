/** Who waits for changes of signatures in this process. */
export interface SignatureNotices {
  /** A signature has changed; undefined: any may have. */
  notice(signatureId: string | undefined): void
  /** Begins to take note of a signature's changes. Each `next()` resolves once there was one since the call before. */
  follow(signatureId: string, signal: AbortSignal): Follower
  /** Reads something for a follower, a few at a time: a thousand that look at once must not keep callers from the database. */
  read<T>(work: () => Promise<T>): Promise<T>
}

export interface Follower extends Disposable {
  /** Resolves after so many milliseconds at the latest. Rejects with the signal's reason. */
  next(withinMs: number): Promise<void>
}

/** Between looks at a signature whose time is over by a timer of ours and not yet by the database's clock. */
const LEAST_WAIT_MS = 1_000

/** Of the database's connections. */
const READS_AT_ONCE = 5

/** One for a process, however many follow. */
export function createSignatureNotices(): SignatureNotices {
  const followers = new Map<string, Set<() => void>>()
  const waiting: (() => void)[] = []
  let free = READS_AT_ONCE

  return {
    async read(work) {
      if (free > 0) free -= 1
      else await new Promise<void>((resolve) => waiting.push(resolve))
      try {
        return await work()
      } finally {
        const next = waiting.shift()
        if (next) next()
        else free += 1
      }
    },
    notice(signatureId) {
      const concerned = signatureId === undefined ? [...followers.values()] : [followers.get(signatureId) ?? []]
      for (const wakes of concerned) for (const wake of wakes) wake()
    },
    follow(signatureId, signal) {
      let changed = Promise.withResolvers<void>()
      const wake = () => changed.resolve()
      const wakes = followers.get(signatureId) ?? new Set()
      followers.set(signatureId, wakes.add(wake))
      signal.addEventListener('abort', wake)
      // One that was aborted before says so no more.
      if (signal.aborted) wake()
      return {
        async next(withinMs) {
          const timer = setTimeout(wake, Math.max(LEAST_WAIT_MS, withinMs))
          await changed.promise
          clearTimeout(timer)
          signal.throwIfAborted()
          changed = Promise.withResolvers()
        },
        [Symbol.dispose]() {
          signal.removeEventListener('abort', wake)
          wakes.delete(wake)
          if (wakes.size === 0) followers.delete(signatureId)
        },
      }
    },
  }
}
