import { setTimeout as sleep } from 'node:timers/promises'
import pg from 'pg'

const RECONNECT_MS = 500

/**
 * Listens on a connection of its own, and connects again when that breaks. Calls `onNotice` for each notice on the
 * channel, and whenever it has begun to listen, as notices may have been missed before.
 */
export function openListener(url: string, channel: string, onNotice: () => void): AsyncDisposable {
  const stop = new AbortController()

  async function listen(): Promise<void> {
    const client = new pg.Client({
      connectionString: url,
      application_name: 'signature-router listener',
      connectionTimeoutMillis: 3_000,
      keepAlive: true,
    })
    const over = Promise.withResolvers<void>()
    client.on('error', () => over.resolve())
    client.on('end', () => over.resolve())
    client.on('notification', onNotice)
    const onStop = () => over.resolve()
    stop.signal.addEventListener('abort', onStop)
    try {
      await client.connect()
      await client.query(`LISTEN ${client.escapeIdentifier(channel)}`)
      onNotice()
      await over.promise
    } finally {
      stop.signal.removeEventListener('abort', onStop)
      await client.end().catch(() => {})
    }
  }

  async function listenOn(): Promise<void> {
    while (!stop.signal.aborted) {
      await listen().catch(() => {})
      await sleep(RECONNECT_MS, undefined, { signal: stop.signal }).catch(() => {})
    }
  }

  const listening = listenOn()
  return {
    async [Symbol.asyncDispose]() {
      stop.abort()
      await listening
    },
  }
}
