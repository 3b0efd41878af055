/** Lets callers wait for the next of something. */
export interface Next<T> {
  /** Settles with the next one from now on. */
  wait(): Promise<T>
  resolve(value: T): void
  /** Rejects all waiting callers: nothing comes any more. */
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
  // It may be rejected while no caller waits.
  slot.promise.catch(() => {})
  return slot
}
