/** Whoever waits for the next of something. */
export interface Next<T> {
  /** Settles with the next one from now on. */
  wait(): Promise<T>
  resolve(value: T): void
  /** Nothing comes any more: whoever waits is rejected. */
  stop(): void
}

export function createNext<T>(): Next<T> {
  let slot = newSlot<T>()
  return {
    wait: () => slot.promise,
    resolve(value) {
      slot.resolve(value)
      slot = newSlot()
    },
    stop: () => slot.reject(new Error('the sandbox was stopped')),
  }
}

function newSlot<T>() {
  const slot = Promise.withResolvers<T>()
  // Nobody may be waiting when it is rejected.
  slot.promise.catch(() => {})
  return slot
}
