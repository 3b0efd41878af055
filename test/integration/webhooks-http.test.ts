import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { sql } from 'kysely'
import { afterAll, beforeAll, expect, inject, test, vi } from 'vitest'
import { openDatabase } from '../../src/db/database.ts'
import { type App, row, start, startApp, startRequest } from '../support/app.ts'
import { keptReceipts, newSid, post, twilioReceipt, vonageReceipt } from '../support/webhooks.ts'

const PATH = '/webhooks/twilio/messages'
const PATHS = [PATH, '/webhooks/twilio/calls', '/webhooks/twilio/keys', '/webhooks/vonage/messages']
const MOST = 64 * 1024

let app: App
beforeAll(async () => {
  app = await startApp()
})
afterAll(() => app[Symbol.asyncDispose]())

const address = (path: string, { server }: Pick<App, 'server'> = app) => `http://127.0.0.1:${server.httpPort}${path}`

async function ask(path: string, init: RequestInit = {}) {
  const response = await fetch(address(path), init)
  await response.text()
  return { status: response.status, allow: response.headers.get('allow') }
}

/** A connection on which these bytes are sent; `answered` is all that came back by the time it was closed. */
function talk(...parts: (string | Buffer)[]): { socket: Socket; answered: Promise<string> } {
  const socket = connect(app.server.httpPort, '127.0.0.1')
  const received: Buffer[] = []
  // A reset ends it like any other end: what came before is what counts.
  socket.on('error', () => {}).on('data', (chunk: Buffer) => received.push(chunk))
  const answered = once(socket, 'close').then(() => Buffer.concat(received).toString())
  for (const part of parts) socket.write(part)
  return { socket, answered }
}

function head(fields: string, method = 'POST', path = PATH): string {
  return `${method} ${path} HTTP/1.1\r\nHost: bank\r\n${fields}\r\n`
}

function statuses(answer: string): string[] {
  return [...answer.matchAll(/^HTTP\/1\.1 (\d{3})/gm)].map(([, status = '']) => status)
}

test('there are webhooks for Twilio and Vonage and no others', async () => {
  for (const path of PATHS) expect(await ask(path, { method: 'POST' }), path).toMatchObject({ status: 403 })
  for (const path of [
    '/webhooks/',
    '/webhooks/fcm',
    `${PATH}/`,
    '/webhooks/twilio',
    `/${PATH}`,
    '/webhooks/__proto__',
  ]) {
    expect(await ask(path, { method: 'POST' }), path).toMatchObject({ status: 404 })
  }
})

test('a webhook only takes POST, and says so', async () => {
  for (const path of PATHS) {
    for (const method of ['GET', 'HEAD', 'PUT', 'DELETE', 'OPTIONS']) {
      expect(await ask(path, { method }), `${method} ${path}`).toEqual({ status: 405, allow: 'POST' })
    }
  }
})

test.each([
  ['that says its length', { body: Buffer.alloc(MOST + 1) }],
  ['in chunks without a length', { chunks: [Buffer.alloc(MOST), Buffer.alloc(1)] }],
])('a body over 64 KiB %s is refused', async (_, { body, chunks }: { body?: Buffer; chunks?: Buffer[] }) => {
  for (const path of PATHS) {
    const sent = chunks ? { body: ReadableStream.from(chunks), duplex: 'half' as const } : { body }
    expect(await ask(path, { method: 'POST', ...sent } as RequestInit)).toMatchObject({ status: 413 })
  }
})

test('a body of 64 KiB is read to its end', async () => {
  expect(await ask(PATH, { method: 'POST', body: Buffer.alloc(MOST) })).toMatchObject({ status: 403 })
})

test('a body that is announced as endless is refused before it has come', async () => {
  const { answered } = talk(head(`Content-Length: ${2 ** 40}\r\n`), Buffer.alloc(MOST + 1))
  expect(statuses(await answered)).toEqual(['413'])
})

test('what follows a body that was too large is not taken for a request', async () => {
  const smuggled = head('', 'GET', '/nothing')
  const body = Buffer.concat([Buffer.alloc(MOST + 1), Buffer.from(smuggled)])
  const { answered } = talk(head(`Content-Length: ${body.length + 10}\r\n`), body)
  const answer = await answered
  expect(statuses(answer)).toEqual(['413'])
  expect(answer).toMatch(/^connection: close$/im)
  expect(await ask('/nothing')).toMatchObject({ status: 404 })
})

test('requests one after the other on a connection are each answered', async () => {
  const { answered } = talk(
    head('Content-Length: 3\r\n'),
    'a=b',
    head('', 'GET', '/nothing'),
    head('Connection: close\r\n', 'GET'),
  )
  expect(statuses(await answered)).toEqual(['403', '404', '405'])
})

test('a signature that comes twice proves nothing', async () => {
  const { challengeId } = await start(app)
  const receipt = twilioReceipt(app, { challengeId, sid: newSid(), status: 'sent' })
  const signature = `X-Twilio-Signature: ${receipt.headers['x-twilio-signature']}\r\n`
  const fields = (signatures: string) => `Content-Length: ${receipt.body.length}\r\nConnection: close\r\n${signatures}`
  const twice = talk(head(fields(signature + signature), 'POST', receipt.target), receipt.body)
  expect(statuses(await twice.answered)).toEqual(['403'])
  const once = talk(head(fields(signature), 'POST', receipt.target), receipt.body)
  expect(statuses(await once.answered)).toEqual(['200'])
})

test('a body that does not come to its end is cut off, and keeps nobody else from being served', async () => {
  const startedMs = performance.now()
  const slow = talk(head('Content-Length: 100\r\n'), 'MessageSid=')
  const drip = setInterval(() => slow.socket.write('a'), 500)
  const headless = talk('POST /webhooks/twilio/messages HTTP/1.1\r\nHost: bank\r\n')
  expect(await ask(PATH)).toMatchObject({ status: 405 })
  expect(statuses(await headless.answered)).toEqual(['408'])
  expect(performance.now() - startedMs).toBeLessThan(9_000)
  await slow.answered
  clearInterval(drip)
  expect(performance.now() - startedMs).toBeGreaterThan(9_000)
  expect(performance.now() - startedMs).toBeLessThan(14_000)
  expect(await ask(PATH)).toMatchObject({ status: 405 })
}, 60_000)

test('while the database is away webhooks answer 503, and the vendor that comes again is heard', async () => {
  await using own = await startApp()
  await using server = openDatabase(inject('postgresUrl'))
  const name = new URL(own.env.DATABASE_URL ?? '').pathname.slice(1)
  const { challenge } = await own.client.startSignature(startRequest())
  const told = { challengeId: challenge?.id ?? '', sid: challenge?.providerChallengeId ?? '', status: 'delivered' }
  const receipt = twilioReceipt(own, told)

  await sql`ALTER DATABASE ${sql.id(name)} ALLOW_CONNECTIONS false`.execute(server.db)
  await sql`SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = ${name}`.execute(server.db)
  expect(await post(own, receipt)).toBe(503)
  expect(await post(own, { ...receipt, headers: {} })).toBe(403)
  await sql`ALTER DATABASE ${sql.id(name)} ALLOW_CONNECTIONS true`.execute(server.db)

  // The test's own connections were ended too, which its pool may not know yet.
  await vi.waitFor(async () => expect(await keptReceipts(own, told.challengeId)).toEqual([]), 10_000)
  expect(await post(own, receipt)).toBe(200)
  expect(await row(own, 'challenge', told.challengeId)).toMatchObject({ delivery_status: 'DELIVERED' })
})

test('a receipt that is being recorded when the service stops is recorded to its end', async () => {
  const replica = await app.replica()
  const { signatureId, challengeId } = await start(replica)
  const sid = String((await row(app, 'challenge', challengeId))?.provider_challenge_id)
  const { promise: released, resolve: release } = Promise.withResolvers<void>()
  const holding = app.db.transaction().execute(async (trx) => {
    await sql`SELECT FROM signature WHERE id = ${signatureId} FOR UPDATE`.execute(trx)
    await released
  })
  const posted = post(replica, twilioReceipt(replica, { challengeId, sid, status: 'delivered' })).catch(() => 'cut')
  await vi.waitFor(async () => {
    const { rows } = await sql`
      SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()
    `.execute(app.db)
    expect(rows).not.toEqual([])
  }, 10_000)

  const stopped = replica[Symbol.asyncDispose]()
  expect(await posted).toBe('cut')
  release()
  await Promise.all([stopped, holding])

  expect(await row(app, 'challenge', challengeId)).toMatchObject({ delivery_status: 'DELIVERED' })
  expect(replica.logs.filter(({ level }) => level === 'error')).toEqual([])
  expect(replica.logs).toContainEqual(expect.objectContaining({ msg: 'receipt', outcome: 'recorded' }))
})

test('without PUBLIC_WEBHOOK_URL no vendor is asked to report, and there are no webhooks', async () => {
  const silent = await app.replica({ PUBLIC_WEBHOOK_URL: '' })
  app.sandbox.clear()
  const { challengeId } = await start(silent)
  expect(app.sandbox.calls[0]?.form.has('StatusCallback')).toBe(false)
  expect(await row(app, 'challenge', challengeId)).toMatchObject({ status: 'SENT', receipt_due_at: null })
  for (const path of PATHS) {
    expect((await fetch(address(path, silent), { method: 'POST' })).status, path).toBe(404)
  }
})

test('without its signature secret Vonage is not asked to report, and has no webhook', async () => {
  const unsigned = await app.replica({ VONAGE_SIGNATURE_SECRET: '' })
  const { challengeId } = await start(unsigned)
  const receipt = await vonageReceipt({ challengeId, sid: crypto.randomUUID(), status: 'delivered' })
  expect(await post(unsigned, receipt)).toBe(404)
  expect(await post(unsigned, twilioReceipt(unsigned, { challengeId, sid: newSid(), status: 'sent' }))).toBe(200)
})
