import { setTimeout as sleep } from 'node:timers/promises'

/** Work that is done again and again. Disposing ends it, and waits for the round under way. */
export interface Loop extends AsyncDisposable {
  /** Skips the pause before the next round. During a round, the pause after it. */
  wake(): void
}

/** Runs `round`, which must not reject, with `pauseMs()` milliseconds between two rounds. `stopping` is aborted by disposing. */
export function startLoop(round: (stopping: AbortSignal) => Promise<unknown>, pauseMs: () => number): Loop {
  const stop = new AbortController()
  let wake = () => {}
  async function run(): Promise<void> {
    while (!stop.signal.aborted) {
      const awake = new AbortController()
      wake = () => awake.abort()
      await round(stop.signal)
      const signal = AbortSignal.any([stop.signal, awake.signal])
      await sleep(pauseMs(), undefined, { signal, ref: false }).catch(() => {})
    }
  }
  const running = run()
  return {
    wake: () => wake(),
    async [Symbol.asyncDispose]() {
      stop.abort()
      await running
    },
  }
}

/** Returns `ms`, up to a quarter more or less, so that replicas started together don't go on looking together. */
export function spread(ms: number): number {
  return ms * (0.75 + Math.random() / 2)
}
