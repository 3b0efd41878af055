import { setTimeout as sleep } from 'node:timers/promises'
import pg from 'pg'
import { givingUpSocket } from './database.ts'

const RECONNECT_MS = 500
/** How often something is asked, only to see that the connection still carries. */
const BEAT_MS = 5_000
const SILENCE_MS = 2 * BEAT_MS

/** What a notice says; undefined when listening has begun, as any may have been missed before. */
type OnNotice = (payload: string | undefined) => void

/** Listens to these channels on one connection, and connects again when that breaks, to what the URL is then. */
export function openListener(url: () => string, channels: Readonly<Record<string, OnNotice>>): AsyncDisposable {
  const stop = new AbortController()

  async function listen(): Promise<void> {
    const client = new pg.Client({
      connectionString: url(),
      application_name: 'signature-router listener',
      connectionTimeoutMillis: 3_000,
      keepAlive: true,
      stream: () => givingUpSocket(SILENCE_MS),
    })
    let beat: NodeJS.Timeout | undefined
    const over = Promise.withResolvers<void>()
    client.on('error', () => over.resolve())
    client.on('end', () => over.resolve())
    client.on('notification', ({ channel, payload }) => channels[channel]?.(payload))
    const onStop = () => over.resolve()
    stop.signal.addEventListener('abort', onStop)
    try {
      await client.connect()
      for (const channel of Object.keys(channels)) await client.query(`LISTEN ${client.escapeIdentifier(channel)}`)
      for (const onNotice of Object.values(channels)) onNotice(undefined)
      beat = setInterval(() => void client.query('SELECT').catch(() => {}), BEAT_MS)
      await over.promise
    } finally {
      clearInterval(beat)
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
