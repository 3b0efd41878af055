import { once } from 'node:events'
import http2 from 'node:http2'
import type { AddressInfo } from 'node:net'
import { afterEach, expect, test, vi } from 'vitest'
import { type ConnectionLimits, limitConnections } from '../../src/rpc/connections.ts'

const LIMITS: ConnectionLimits = { most: 10, idleMs: 60_000, ageMs: 60_000, graceMs: 60_000 }
const SOON = 10_000

const cleanups: (() => void)[] = []
afterEach(() => {
  for (const cleanup of cleanups.splice(0)) cleanup()
})

/** A server that answers /now at once, and anything else when it is told to. */
async function serve(limits: Partial<ConnectionLimits>) {
  const waiting: http2.ServerHttp2Stream[] = []
  const server = http2.createServer()
  server.on('stream', (stream: http2.ServerHttp2Stream, { ':path': path }) => {
    if (path === '/now') return void stream.respond({ ':status': 200 }, { endStream: true })
    waiting.push(stream)
  })
  const connections = limitConnections(server, { ...LIMITS, ...limits })
  await once(server.listen(0, '127.0.0.1'), 'listening')
  cleanups.push(() => {
    server.close()
    connections.destroy()
  })
  const { port } = server.address() as AddressInfo
  const open = async () => {
    const session = http2.connect(`http://127.0.0.1:${port}`).on('error', () => {})
    const told = once(session, 'goaway')
    const closed = once(session, 'close')
    await once(session, 'remoteSettings')
    return { session, told, closed }
  }
  return { open, waiting }
}

async function ask({ session }: { session: http2.ClientHttp2Session }, path = '/now'): Promise<number> {
  const stream = session.request({ ':path': path })
  const [{ ':status': status }] = await once(stream, 'response')
  stream.resume()
  return status
}

test('a connection without a stream is ended after a while, and one with a stream is not', async () => {
  const { open, waiting } = await serve({ idleMs: 300 })
  const [idle, busy] = await Promise.all([open(), open()])
  const asked = ask(busy, '/later')
  await idle.closed
  expect(busy.session.closed).toBe(false)

  waiting[0]?.respond({ ':status': 200 }, { endStream: true })
  expect(await asked).toBe(200)
  await busy.closed
})

test('when all places are taken the connection that has been idle longest makes room', async () => {
  const { open, waiting } = await serve({ most: 2 })
  const busy = await open()
  const asked = ask(busy, '/later')
  await vi.waitFor(() => expect(waiting).toHaveLength(1), SOON)
  const idle = await open()
  const fresh = await open()
  await idle.closed
  expect(await ask(fresh)).toBe(200)
  waiting[0]?.respond({ ':status': 200 }, { endStream: true })
  expect(await asked).toBe(200)
})

test('a connection that is old lets its streams end, and requests that were on their way', async () => {
  const { open, waiting } = await serve({ ageMs: 1_000 })
  const old = await open()
  const asked = ask(old, '/later')
  const [, lastStream] = await old.told
  expect(lastStream).toBe(2 ** 31 - 1)
  expect(old.session.destroyed).toBe(false)
  waiting[0]?.respond({ ':status': 200 }, { endStream: true })
  expect(await asked).toBe(200)
  await old.closed
})

test('a stream that does not end is cut when the grace is over', async () => {
  const { open } = await serve({ ageMs: 300, graceMs: 300 })
  const { session, closed } = await open()
  const stream = session.request({ ':path': '/later' }).on('error', () => {})
  await once(stream, 'close')
  await closed
})

test('connections do not all end at the same age', async () => {
  const { open } = await serve({ most: 40, ageMs: 1_000 })
  const sessions = await Promise.all(Array.from({ length: 30 }, open))
  const ends = await Promise.all(
    sessions.map(async ({ told }) => {
      await told
      return performance.now()
    }),
  )
  expect(Math.max(...ends) - Math.min(...ends)).toBeGreaterThan(80)
})
