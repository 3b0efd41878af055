import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { type Client, createClient } from '@connectrpc/connect'
import { createGrpcTransport, Http2SessionManager } from '@connectrpc/connect-node'
import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { AbortReason, SignatureService } from '../../gen/bank/signature/v1/signature_pb.ts'
import { type App, failure, start, startApp, transaction, typeName, wrongCode } from '../support/app.ts'
import { listeners } from '../support/routing.ts'

const WATCHERS = 1_000
const SIGNATURES = 50
/** Watch the same signature; the others are spread over all. */
const CROWD = 200
/** A connection carries 100 streams. */
const CONNECTIONS = 12
const PATIENCE_MS = 15_000

const STORY = [
  '1 SIGNATURE_STARTED',
  '2 CHALLENGE_STARTED',
  '3 CHALLENGE_SENT',
  '4 CODE_REJECTED',
  '5 CODE_REJECTED',
  '6 SIGNATURE_ABORTED',
]

type Started = Awaited<ReturnType<typeof start>>
type WatchClient = Client<typeof SignatureService>

let app: App
let writer: Awaited<ReturnType<App['replica']>>
let connections: Http2SessionManager[]
beforeAll(async () => {
  app = await startApp({ DATABASE_POOL_SIZE: '20' })
  writer = await app.replica()
  connections = Array.from({ length: CONNECTIONS }, () => new Http2SessionManager(app.url))
})
afterAll(async () => {
  for (const connection of connections) connection.abort()
  await app[Symbol.asyncDispose]()
})

test('1,000 watchers see every change once and in order while another replica writes, and leave nothing behind', async () => {
  const clients = connections.map((sessionManager) =>
    createClient(SignatureService, createGrpcTransport({ baseUrl: app.url, sessionManager })),
  )
  const signatures = await Promise.all(Array.from({ length: SIGNATURES }, () => start(writer)))
  // What a first watch on each connection sets up stays.
  await Promise.all(clients.map((client) => watchBriefly(client, signatures[0]?.signatureId)))
  const beforeBytes = heapBytes()

  const watchers = Array.from({ length: WATCHERS }, (_, n) => {
    const { signatureId = '' } = signatures[n < CROWD ? 0 : n % SIGNATURES] ?? {}
    return watch(clients[n % CONNECTIONS], signatureId)
  })
  await vi.waitFor(() => expect(least(watchers)).toBe(3), PATIENCE_MS)
  const duringBytes = heapBytes()
  expect(await listeners(app)).toHaveLength(2)

  // The last one is never ended: who watches it leaves.
  await Promise.all(signatures.map((signature, n) => write(signature, n < SIGNATURES - 1)))
  const staying = watchers.filter(({ signatureId }) => signatureId === signatures.at(-1)?.signatureId)
  await vi.waitFor(() => expect(least(watchers)).toBe(5), PATIENCE_MS)
  for (const { stop } of staying) stop()
  await Promise.all(watchers.map(({ ended }) => ended))

  expect(staying.length).toBeGreaterThan(10)
  for (const watcher of watchers) {
    expect(watcher.told).toEqual(staying.includes(watcher) ? STORY.slice(0, 5) : STORY)
  }
  const leaving = WATCHERS - staying.length
  await vi.waitFor(() => {
    const codes = Object.groupBy(watchLines(), ({ code }) => String(code))
    expect(codes.OK).toHaveLength(leaving)
    expect(codes.CANCELLED).toHaveLength(staying.length + CONNECTIONS)
  }, PATIENCE_MS)

  watchers.length = 0
  staying.length = 0
  app.logs.length = 0
  writer.logs.length = 0
  await vi.waitFor(() => expect(heapBytes() - beforeBytes).toBeLessThan((duringBytes - beforeBytes) / 4), PATIENCE_MS)
}, 60_000)

function watch(client: WatchClient | undefined, signatureId: string) {
  const leave = new AbortController()
  const told: string[] = []
  const ended = (async () => {
    const answers = client?.watchSignature({ signatureId }, { signal: leave.signal }) ?? []
    for await (const { event } of answers) told.push(`${event?.position} ${typeName(event?.type)}`)
  })().catch((error) => {
    if (!leave.signal.aborted) throw error
  })
  return { signatureId, told, ended, stop: () => leave.abort() }
}

async function watchBriefly(client: WatchClient, signatureId = ''): Promise<void> {
  const watcher = watch(client, signatureId)
  await vi.waitFor(() => expect(watcher.told).toHaveLength(3), PATIENCE_MS)
  watcher.stop()
  await watcher.ended
}

/** The rest of the story, from the other replica. */
async function write({ signatureId, code }: Started, toItsEnd: boolean): Promise<void> {
  for (const _ of ['first', 'second']) {
    await failure(writer.client.completeSignature({ signatureId, code: wrongCode(code), transaction: transaction() }))
  }
  if (toItsEnd) await writer.client.abortSignature({ signatureId, reason: AbortReason.OPERATOR })
}

/** How many events those were told who were told the fewest. */
function least(watchers: { told: string[] }[]): number {
  return Math.min(...watchers.map(({ told }) => Math.min(told.length, 5)), 5)
}

function watchLines() {
  return app.logs.filter(({ method }) => String(method).endsWith('/WatchSignature'))
}

/** What is in use once all garbage is collected. */
function heapBytes(): number {
  setFlagsFromString('--expose_gc')
  const collectGarbage = runInNewContext('gc') as () => void
  collectGarbage()
  return process.memoryUsage().heapUsed
}
