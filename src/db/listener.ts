import { once } from 'node:events'
import pg from 'pg'
import type { TargetSession } from '../domain/database-url.ts'
import { startLoop } from '../loop.ts'
import { givingUpSocket } from './database.ts'
import { createServers } from './servers.ts'
import { openSession } from './session.ts'

const RECONNECT_MS = 500
/** How often a query is sent, only to see that the connection still works. */
const BEAT_MS = 5_000
const SILENCE_MS = 2 * BEAT_MS

/** Called with a notice's payload; with undefined when listening has begun, as notices may have been missed before. */
type OnNotice = (payload: string | undefined) => void

/** Listens to `channels` on one connection. When that breaks, connects again, to what `url` returns then. */
export function openListener(url: () => string, channels: Readonly<Record<string, OnNotice>>): AsyncDisposable {
  const servers = createServers(url)

  /** Listens on one server until the connection ends. A standby refuses LISTEN, so another one is tried. */
  async function connect(
    connectionString: string,
    target: TargetSession,
  ): Promise<AsyncDisposable & { over: Promise<void> }> {
    const client = new pg.Client({
      connectionString,
      application_name: 'signature-router listener',
      connectionTimeoutMillis: 3_000,
      keepAlive: true,
      stream: () => givingUpSocket(SILENCE_MS),
    })
    const { promise: over, resolve: end } = Promise.withResolvers<void>()
    client.on('error', () => end())
    client.on('end', () => end())
    client.on('notification', ({ channel, payload }) => channels[channel]?.(payload))
    try {
      await client.connect()
      await openSession(client, { target, pooler: 'none', statementTimeoutMs: SILENCE_MS })
      for (const channel of Object.keys(channels)) await client.query(`LISTEN ${client.escapeIdentifier(channel)}`)
    } catch (error) {
      await client.end().catch(() => {})
      throw error
    }
    for (const onNotice of Object.values(channels)) onNotice(undefined)
    const beat = setInterval(() => void client.query('SELECT').catch(() => {}), BEAT_MS)
    return {
      over,
      async [Symbol.asyncDispose]() {
        clearInterval(beat)
        await client.end().catch(() => {})
      },
    }
  }

  async function listen(stopping: AbortSignal): Promise<void> {
    const stopped = once(stopping, 'abort')
    await using connection = await servers.connect(connect)
    await Promise.race([connection.over, stopped])
  }

  return startLoop(
    (stopping) => listen(stopping).catch(() => {}),
    () => RECONNECT_MS,
  )
}
