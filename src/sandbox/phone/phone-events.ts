import { randomBytes } from 'node:crypto'
import type { ServerResponse } from 'node:http'
import type { SimulatedMessage } from '../dialect.ts'
import { renderPhones } from './phone-page.ts'

/** Sends changes to the open pages. */
export interface PhoneEvents {
  /** Where the messages are now; another one after each change, and for each start of the sandbox. */
  readonly position: string
  /**
   * Follows the changes after `since` until the client leaves. False when too many do so already, and then nothing was
   * answered. A client from another position is told to look at the page again first.
   */
  open(response: ServerResponse, since: string): boolean
  /** Sends a message that is new or has another status. */
  tell(message: SimulatedMessage): void
  /** Makes every page load everything again. */
  tellAll(): void
}

const MAX_STREAMS = 100
const MAX_BUFFERED_BYTES = 1_048_576
const HEARTBEAT_MS = 15_000
const RETRY_MS = 1_000

/** Server-sent events: https://html.spec.whatwg.org/multipage/server-sent-events.html */
export function createPhoneEvents(): PhoneEvents {
  const start = randomBytes(8).toString('hex')
  const streams = new Set<ServerResponse>()
  let changes = 0

  function write(response: ServerResponse, text: string): void {
    if (response.destroyed) return
    response.write(text)
    // It comes back, and looks at the page again.
    if (response.writableLength > MAX_BUFFERED_BYTES) response.destroy()
  }

  function broadcast(event: string, data?: string): void {
    changes++
    for (const response of streams) write(response, frame(event, data))
  }

  function frame(event: string, data = ''): string {
    return `id: ${events.position}\nevent: ${event}\ndata: ${data}\n\n`
  }

  const events: PhoneEvents = {
    get position() {
      return `${start}-${changes}`
    },
    open(response, since) {
      if (streams.size >= MAX_STREAMS) return false
      streams.add(response)
      const heartbeat = setInterval(() => write(response, ': alive\n\n'), HEARTBEAT_MS).unref()
      response.once('close', () => {
        clearInterval(heartbeat)
        streams.delete(response)
      })
      response.writeHead(200, { 'Content-Type': 'text/event-stream' })
      write(response, `retry: ${RETRY_MS}\n\n`)
      if (since !== events.position) write(response, frame('sync'))
      return true
    },
    // As JSON, which has no line breaks of its own.
    tell: (message) => broadcast('message', JSON.stringify(renderPhones([message]))),
    tellAll: () => broadcast('sync'),
  }
  return events
}
