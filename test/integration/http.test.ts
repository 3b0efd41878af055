import { once } from 'node:events'
import { connect } from 'node:net'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { type App, startApp } from '../support/app.ts'

let app: App
beforeAll(async () => {
  app = await startApp()
})
afterAll(() => app[Symbol.asyncDispose]())

const get = async (path: string, init?: RequestInit, { server }: Pick<App, 'server'> = app) => {
  const response = await fetch(`http://127.0.0.1:${server.adminPort}${path}`, init)
  return { status: response.status, headers: response.headers, text: await response.text() }
}

test('there are /livez, /readyz and /metrics', async () => {
  expect(await get('/livez')).toMatchObject({ status: 200 })
  expect(await get('/readyz')).toMatchObject({ status: 200 })
  const { status, headers, text } = await get('/metrics')
  expect(status).toBe(200)
  expect(headers.get('content-type')).toContain('text/plain; version=0.0.4')
  expect(text).toMatch(/^# TYPE rpc_duration_seconds histogram$/m)
  expect(text).toMatch(/^database_pool_connections\{state="idle"\} \d+$/m)
  expect(text).toMatch(/^nodejs_eventloop_lag_seconds /m)
})

test('none of it is where webhooks come in, which the internet reaches', async () => {
  for (const path of ['/metrics', '/livez', '/readyz', '/webhooks/twilio/messages']) {
    const [open, closed] = path.startsWith('/webhooks')
      ? (['httpPort', 'adminPort'] as const)
      : (['adminPort', 'httpPort'] as const)
    const status = async (port: 'httpPort' | 'adminPort') =>
      (await fetch(`http://127.0.0.1:${app.server[port]}${path}`)).status
    expect(await status(open), path).not.toBe(404)
    expect(await status(closed), path).toBe(404)
  }
})

test('everything else is 404, and what is there can only be read', async () => {
  for (const path of ['/', '/metrics/', '/nothing']) {
    expect(await get(path), path).toMatchObject({ status: 404 })
  }
  for (const method of ['POST', 'PUT', 'DELETE']) {
    const { status, headers } = await get('/metrics', { method })
    expect(status).toBe(405)
    expect(headers.get('allow')).toBe('GET, HEAD')
  }
  expect(await get('/livez', { method: 'HEAD' })).toMatchObject({ status: 200, text: '' })
})

test('1,100 connections that say nothing keep nobody from being served', async () => {
  for (const port of [app.server.httpPort, app.server.adminPort]) {
    const silent = Array.from({ length: 1_100 }, () => connect(port, '127.0.0.1').on('error', () => {}))
    await Promise.all(silent.map((socket) => once(socket, 'connect')))
    expect(await get('/livez')).toMatchObject({ status: 200 })
    expect((await fetch(`http://127.0.0.1:${port}/nothing`)).status).toBe(404)
    for (const socket of silent) socket.destroy()
  }
})
