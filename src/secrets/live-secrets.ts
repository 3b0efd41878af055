import { setTimeout as sleep } from 'node:timers/promises'
import type { KeyProblems } from '../domain/keys.ts'
import type { Secrets } from './secrets.ts'
import { type TakenOver, takeOver } from './take-over.ts'

/** Secrets that are read again and again while the process runs. Disposing stops that. */
export interface LiveSecrets extends AsyncDisposable {
  /** The secrets as last read and taken over. Read this property at each use. */
  readonly current: Secrets
  /**
   * Reads them at once. Resolves when a read that began after the call has ended, also if it failed. Concurrent callers
   * share one read, and at most one begins each second.
   */
  readAgain(): Promise<void>
}

export interface LiveSecretsOptions {
  /** Reads all secrets; undefined where they can't change: then nothing is ever read. */
  read: ((signal: AbortSignal) => Promise<Secrets>) | undefined
  everyMs: number
  /** Called with secrets whose keys have changed, before they are used. Must not reject. */
  findKeyProblems: (next: Secrets) => Promise<KeyProblems>
  onRead: (taken: TakenOver) => void
  /** Called when a read failed; the secrets stay as they were. */
  onError: (error: unknown) => void
}

const LEAST_BETWEEN_MS = 1_000

/** Keeps the in-memory secrets in sync with their source. */
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
    // A later caller may know of something newer than this read finds.
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
