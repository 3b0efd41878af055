import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'
import { Code } from '@connectrpc/connect'
import { sql } from 'kysely'
import { expect, test, vi } from 'vitest'
import { failure, row, start, startApp, startRequest, transaction } from '../support/app.ts'

const unavailable = { code: Code.Unavailable, reason: 'STORAGE_UNAVAILABLE' }

/** A way to a database that can be cut and mended. */
async function openWay(url: string) {
  const { port, hostname } = new URL(url)
  const sockets = new Set<Socket>()
  const server = createServer((client) => {
    const database = connect(Number(port), hostname)
    for (const socket of [client, database]) sockets.add(socket.on('error', () => {}))
    client.pipe(database).pipe(client)
    client.on('close', () => database.destroy())
    database.on('close', () => client.destroy())
  })
  const listen = async (on: number) => {
    await once(server.listen(on, '127.0.0.1'), 'listening')
    return server.address() as AddressInfo
  }
  const own = await listen(0)
  const cut = async () => {
    server.close()
    for (const socket of sockets) socket.destroy()
    sockets.clear()
  }
  return {
    url: Object.assign(new URL(url), { hostname: own.address, port: String(own.port) }).href,
    cut,
    mend: () => listen(own.port),
    [Symbol.asyncDispose]: cut,
  }
}

/** The service on the far side of such a way; its provider and its database's near side are in `home`. */
async function startBehind() {
  await using starting = new AsyncDisposableStack()
  const home = starting.use(await startApp())
  const way = await openWay(home.env.DATABASE_URL ?? '')
  starting.use(way)
  const app = await home.replica({ DATABASE_URL: way.url })
  const running = starting.move()
  return { home, way, app, [Symbol.asyncDispose]: () => running.disposeAsync() }
}

test('calls are UNAVAILABLE, the process is alive but not ready, and all is well when it is back', async () => {
  await using behind = await startBehind()
  const { home, way, app } = behind
  const status = async (page: string) => (await fetch(`http://127.0.0.1:${app.server.adminPort}${page}`)).status
  const { signatureId, code } = await start(app)
  expect(await status('/readyz')).toBe(200)
  await way.cut()

  const request = startRequest()
  const completion = { signatureId, code, transaction: transaction() }
  expect(await failure(app.client.startSignature(request))).toMatchObject(unavailable)
  expect(await failure(app.client.completeSignature(completion))).toMatchObject(unavailable)
  expect(await failure(app.client.getSignature({ signatureId }))).toMatchObject(unavailable)
  // The last answer stands for 500 ms.
  await vi.waitFor(async () => expect(await status('/readyz')).toBe(503), 10_000)
  expect(await status('/livez')).toBe(200)
  expect(await status('/metrics')).toBe(200)
  expect(home.sandbox.calls).toHaveLength(1)

  await way.mend()
  await app.client.startSignature(request)
  await app.client.completeSignature(completion)
  await vi.waitFor(async () => expect(await status('/readyz')).toBe(200), 10_000)
  expect(home.sandbox.calls).toHaveLength(2)
  expect(await row(home, 'signature', signatureId)).toMatchObject({ status: 'SIGNED' })
})

test('a call that it leaves in the middle is UNAVAILABLE too, and the process lives on', async () => {
  await using behind = await startBehind()
  const { home, way, app } = behind
  const { signatureId, challengeId, code } = await start(app)
  const completion = { signatureId, code, transaction: transaction() }
  const blocked = sql<{ count: number }>`
    SELECT count(*)::int AS count FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'
  `

  const refused = await home.db.transaction().execute(async (trx) => {
    await sql`SELECT FROM signature WHERE id = ${signatureId} FOR UPDATE`.execute(trx)
    const answer = failure(app.client.completeSignature(completion))
    await vi.waitFor(async () => expect((await blocked.execute(home.db)).rows).toEqual([{ count: 1 }]))
    await way.cut()
    return answer
  })
  expect(refused).toMatchObject(unavailable)
  expect(await row(home, 'challenge', challengeId)).toMatchObject({ status: 'SENT', tries_used: 1 })

  await way.mend()
  await app.client.completeSignature(completion)
  expect(await row(home, 'signature', signatureId)).toMatchObject({ status: 'SIGNED' })
})
