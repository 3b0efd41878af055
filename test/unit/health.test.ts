import { once } from 'node:events'
import { createServer } from 'node:http2'
import type { AddressInfo } from 'node:net'
import { create } from '@bufbuild/protobuf'
import { Code, createClient, createHandlerContext } from '@connectrpc/connect'
import { connectNodeAdapter, createGrpcTransport, Http2SessionManager } from '@connectrpc/connect-node'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import {
  HealthCheckRequestSchema,
  Health as HealthService,
  HealthCheckResponse_ServingStatus as Status,
} from '../../gen/health/v1/health_pb.ts'
import { createHealth } from '../../src/rpc/health.ts'

const NAME = 'bank.signature.v1.SignatureService'

async function start() {
  const health = createHealth([NAME])
  const stop = new AbortController()
  const server = createServer(
    connectNodeAdapter({
      routes: (router) => router.service(HealthService, health.service),
      shutdownSignal: stop.signal,
    }),
  )
  await once(server.listen(0, '127.0.0.1'), 'listening')
  const baseUrl = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  const sessionManager = new Http2SessionManager(baseUrl)
  const client = createClient(HealthService, createGrpcTransport({ baseUrl, sessionManager }))
  const watch = (service: string, signal?: AbortSignal) =>
    client.watch({ service }, signal ? { signal } : {})[Symbol.asyncIterator]()
  const close = async () => {
    stop.abort()
    sessionManager.abort()
    await new Promise((closed) => server.close(closed))
  }
  return { health, client, watch, stop, close }
}

let app: Awaited<ReturnType<typeof start>>
beforeEach(async () => {
  app = await start()
})
afterEach(() => app.close())

const update = (status: Status) => ({ done: false, value: expect.objectContaining({ status }) })

test('a new server is not serving, as a whole and for each service, until it is told to', async () => {
  for (const service of ['', NAME]) {
    expect(await app.client.check({ service })).toMatchObject({ status: Status.NOT_SERVING })
  }
  app.health.set(true)
  for (const service of ['', NAME]) {
    expect(await app.client.check({ service })).toMatchObject({ status: Status.SERVING })
  }
})

test('Check of an unknown service is NOT_FOUND', async () => {
  await expect(app.client.check({ service: 'bank.Unknown' })).rejects.toMatchObject({ code: Code.NotFound })
})

test('List answers the whole server and each service', async () => {
  app.health.set(true)
  const { statuses } = await app.client.list({})
  expect(statuses).toMatchObject({ '': { status: Status.SERVING }, [NAME]: { status: Status.SERVING } })
})

test('Watch answers at once and then tells each change, and nothing when there is none', async () => {
  const updates = app.watch(NAME)
  expect(await updates.next()).toEqual(update(Status.NOT_SERVING))
  app.health.set(false)
  app.health.set(true)
  expect(await updates.next()).toEqual(update(Status.SERVING))
  app.health.set(true)
  app.health.set(false)
  expect(await updates.next()).toEqual(update(Status.NOT_SERVING))
})

test('Watch of an unknown service answers SERVICE_UNKNOWN and stays open', async () => {
  const unknown = app.watch('bank.Unknown')
  expect(await unknown.next()).toEqual(update(Status.SERVICE_UNKNOWN))
  const known = app.watch(NAME)
  await known.next()
  app.health.set(true)
  await known.next()
  await vi.waitFor(() => expect(app.health.watchers).toBe(2))
})

test('a shutdown ends the stream of a waiting watcher without an error', async () => {
  const updates = app.watch(NAME)
  await updates.next()
  await vi.waitFor(() => expect(app.health.watchers).toBe(1))
  app.stop.abort()
  expect(await updates.next()).toEqual({ done: true, value: undefined })
})

test('a change just before the shutdown still reaches watchers', async () => {
  app.health.set(true)
  const updates = app.watch(NAME)
  await updates.next()
  app.health.set(false)
  app.stop.abort()
  expect(await updates.next()).toEqual(update(Status.NOT_SERVING))
  expect(await updates.next()).toEqual({ done: true, value: undefined })
})

test('a Watch that arrives during the shutdown gets the status and ends', async () => {
  app.stop.abort()
  const updates = app.watch(NAME)
  expect(await updates.next()).toEqual(update(Status.NOT_SERVING))
  expect(await updates.next()).toEqual({ done: true, value: undefined })
})

test('no listener stays behind when watchers leave', async () => {
  const leave = new AbortController()
  const watchers = Array.from({ length: 100 }, () => app.watch(NAME, leave.signal))
  await Promise.all(watchers.map((watcher) => watcher.next()))
  await vi.waitFor(() => expect(app.health.watchers).toBe(100))

  leave.abort()
  await vi.waitFor(() => expect(app.health.watchers).toBe(0))
})

test('a slow watcher gets the latest status, not the history', async () => {
  const leave = new AbortController()
  const context = createHandlerContext({
    service: HealthService,
    method: HealthService.method.watch,
    protocolName: 'grpc',
    requestMethod: 'POST',
    url: '',
    requestSignal: leave.signal,
  })
  const request = create(HealthCheckRequestSchema, { service: NAME })
  const updates = app.health.service.watch(request, context)[Symbol.asyncIterator]()
  expect(await updates.next()).toEqual(update(Status.NOT_SERVING))
  for (const serving of [true, false, true, false, true]) app.health.set(serving)
  expect(await updates.next()).toEqual(update(Status.SERVING))
  leave.abort()
  expect(await updates.next()).toEqual({ done: true, value: undefined })
})
