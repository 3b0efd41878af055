import { once } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import pg from 'pg'
import type { TargetSession } from '../domain/database-url.ts'
import { givingUpSocket } from './database.ts'
import { createServers } from './servers.ts'
import { openSession } from './session.ts'

const RECONNECT_MS = 500
/** How often something is asked, only to see that the connection still carries. */
const BEAT_MS = 5_000
const SILENCE_MS = 2 * BEAT_MS

/** What a notice says; undefined when listening has begun, as any may have been missed before. */
type OnNotice = (payload: string | undefined) => void

/** Listens to these channels on one connection, and connects again when that breaks, to what the URL is then. */
export function openListener(url: () => string, channels: Readonly<Record<string, OnNotice>>): AsyncDisposable {
  const stop = new AbortController()
  const stopped = once(stop.signal, 'abort')
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

  async function listen(): Promise<void> {
    await using connection = await servers.connect(connect)
    await Promise.race([connection.over, stopped])
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
