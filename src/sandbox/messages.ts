import { isDeepStrictEqual } from 'node:util'
import type { SimulatedMessage } from './dialect.ts'

/** The newest messages and their listeners. */
export interface Messages {
  /** Newest first. */
  readonly list: SimulatedMessage[]
  add(message: SimulatedMessage): void
  change(message: SimulatedMessage, fields: Partial<Pick<SimulatedMessage, 'status' | 'body' | 'awaits_key'>>): void
  /** Calls `listener` with a copy of each new or changed message. Returns an unsubscribe function. */
  onMessage(listener: (message: SimulatedMessage) => void): () => void
}

export function createMessages(maxKept: number): Messages {
  const list: SimulatedMessage[] = []
  const listeners = new Set<(message: SimulatedMessage) => void>()

  function announce(message: SimulatedMessage): void {
    for (const listener of listeners) listener({ ...message })
  }

  return {
    list,
    add(message) {
      list.unshift(message)
      list.splice(maxKept)
      announce(message)
    },
    change(message, fields) {
      const changed = { ...message, ...fields }
      if (isDeepStrictEqual(changed, message)) return
      Object.assign(message, fields)
      announce(message)
    },
    onMessage(listener) {
      listeners.add(listener)
      return () => void listeners.delete(listener)
    },
  }
}
