import { setTimeout as sleep } from 'node:timers/promises'

/** The waits for changes of signatures in this process. Disposing ends the looks, not the waits. */
export interface SignatureNotices extends AsyncDisposable {
  /** Call it when a signature has changed; with undefined when any may have. */
  notice(signatureId: string | undefined): void
  /** Starts noting a signature's changes. Each `next()` resolves once there was one since the call before. */
  follow(signatureId: string, signal: AbortSignal): Follower
  /** Reads something for a follower, a few at a time: a thousand that look at once must not keep callers from the database. */
  read<T>(work: () => Promise<T>): Promise<T>
}

export interface Follower extends Disposable {
  /**
   * Resolves when the signature has changed, and after `withinMs` at the latest. `seen` is the last position on its timeline
   * that the follower knows. Rejects with the signal's reason.
   */
  next(withinMs: number, seen: number): Promise<void>
}

/** A follower of a signature. */
interface Waiting {
  wake(): void
  /** Infinite while it doesn't wait: then it looks by itself before it does. */
  seen: number
}

/** Between looks at a signature whose time is over by a timer of ours and not yet by the database's clock. */
const LEAST_WAIT_MS = 1_000

/** For notices that don't come through: without a listener, or while its connection is silently dead. */
const LOOK_EVERY_MS = 2_000

/** Of the database's connections. */
const READS_AT_ONCE = 5

type ReadLastPositions = (signatureIds: string[]) => Promise<{ signatureId: string; position: number }[]>

/** Opens the notices of a process. Calls `readLastPositions` every 2 s, for all followed signatures at once, while there are any. */
export function openSignatureNotices(readLastPositions: ReadLastPositions): SignatureNotices {
  const followers = new Map<string, Set<Waiting>>()
  const waiting: (() => void)[] = []
  let free = READS_AT_ONCE
  const stop = new AbortController()
  let looking: Promise<void> | undefined

  async function lookOn(): Promise<void> {
    while (followers.size > 0 && !stop.signal.aborted) {
      await sleep(LOOK_EVERY_MS, undefined, { signal: stop.signal, ref: false }).catch(() => {})
      if (followers.size > 0 && !stop.signal.aborted) await look()
    }
    looking = undefined
  }

  async function look(): Promise<void> {
    // What can't be read now is there at the next look.
    const last = await readLastPositions([...followers.keys()]).catch(() => [])
    for (const { signatureId, position } of last) {
      for (const each of followers.get(signatureId) ?? []) if (each.seen < position) each.wake()
    }
  }

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
      for (const all of concerned) for (const { wake } of all) wake()
    },
    follow(signatureId, signal) {
      let changed = Promise.withResolvers<void>()
      const self: Waiting = { wake: () => changed.resolve(), seen: Number.POSITIVE_INFINITY }
      const all = followers.get(signatureId) ?? new Set()
      followers.set(signatureId, all.add(self))
      signal.addEventListener('abort', self.wake)
      // One that was aborted before says so no more.
      if (signal.aborted) self.wake()
      looking ??= lookOn()
      return {
        async next(withinMs, seen) {
          self.seen = seen
          const timeout = setTimeout(self.wake, Math.max(LEAST_WAIT_MS, withinMs))
          await changed.promise
          clearTimeout(timeout)
          self.seen = Number.POSITIVE_INFINITY
          signal.throwIfAborted()
          changed = Promise.withResolvers()
        },
        [Symbol.dispose]() {
          signal.removeEventListener('abort', self.wake)
          all.delete(self)
          if (all.size === 0) followers.delete(signatureId)
        },
      }
    },
    async [Symbol.asyncDispose]() {
      stop.abort()
      await looking
    },
  }
}
