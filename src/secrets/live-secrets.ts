import { setTimeout as sleep } from 'node:timers/promises'
import type { KeyProblems } from '../domain/keys.ts'
import type { Secrets } from './secrets.ts'
import { type TakenOver, takeOver } from './take-over.ts'

/** Secrets that are read again while the process runs. Disposing stops that. */
export interface LiveSecrets extends AsyncDisposable {
  /** As last read and taken over. Look at each use. */
  readonly current: Secrets
  /**
   * Reads them at once; done when a read has ended that began after the call, whatever came of it. Callers at the same
   * time share one, and one begins each second at most.
   */
  readAgain(): Promise<void>
}

export interface LiveSecretsOptions {
  /** Undefined where secrets can't change: then nothing is ever read. */
  read: ((signal: AbortSignal) => Promise<Secrets>) | undefined
  everyMs: number
  /** Called with secrets that hold other keys than before, before they are used. Never rejects. */
  findKeyProblems: (next: Secrets) => Promise<KeyProblems>
  onRead: (taken: TakenOver) => void
  /** What was there before stays. */
  onError: (error: unknown) => void
}

const LEAST_BETWEEN_MS = 1_000

/** Keeps secrets as they are where they are kept. */
export function openLiveSecrets(first: Secrets, options: LiveSecretsOptions): LiveSecrets {
  const { read, everyMs, findKeyProblems, onRead, onError } = options
  const stop = new AbortController()
  let current = first
  let reading = Promise.resolve()
  let next: Promise<void> | undefined
  let beganAt = Number.NEGATIVE_INFINITY

  async function readOnce(): Promise<void> {
    if (!read || stop.signal.aborted) return
    beganAt = performance.now()
    try {
      const found = await read(stop.signal)
      let taken = takeOver(current, found)
      if (taken.changed.some((name) => name === 'CODE_KEYS' || name === 'PII_KEYS')) {
        taken = takeOver(current, found, await findKeyProblems(taken.secrets))
      }
      current = taken.secrets
      onRead(taken)
    } catch (error) {
      if (!stop.signal.aborted) onError(error)
    }
  }

  async function readNext(): Promise<void> {
    await reading
    await pause(beganAt + LEAST_BETWEEN_MS - performance.now())
    // Whoever comes from now on may know of something newer than this read finds.
    next = undefined
    reading = readOnce()
    await reading
  }

  async function readAgain(): Promise<void> {
    if (!read) return
    next ??= readNext()
    await next
  }

  const pause = (ms: number) => sleep(Math.max(0, ms), undefined, { signal: stop.signal, ref: false }).catch(() => {})

  async function readOn(): Promise<void> {
    while (!stop.signal.aborted) {
      await pause(everyMs)
      await readAgain()
    }
  }

  const done = read ? readOn() : Promise.resolve()
  return {
    get current() {
      return current
    },
    readAgain,
    async [Symbol.asyncDispose]() {
      stop.abort()
      await done
    },
  }
}
