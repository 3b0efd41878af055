import { once } from 'node:events'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { Context } from '../context.ts'
import { takeReceipt } from './webhooks.ts'

export interface HttpServerConfig {
  host: string
  /** 0 is any free port. */
  port: number
  /** Rejects while the service can't do its work. */
  checkReady: () => Promise<void>
}

/** The HTTP/1.1 listener for machines that watch the service, and for vendors that report to it. */
export interface HttpServer extends AsyncDisposable {
  readonly port: number
  /** From now on receipts are taken in; before, webhooks answer 503. */
  serve(ctx: Context): void
}

const MAX_CONNECTIONS = 1_000

interface Page {
  status: number
  type: string
  text: string
  /** To be done once that is answered. */
  after?: (() => Promise<void>) | undefined
}

/**
 * Serves /metrics, /livez (the process turns), /readyz (it can also reach its database and isn't stopping) and the
 * vendors' webhooks. Disposing waits for what receipts that came have set off.
 */
export async function startHttpServer(
  metrics: Context['metrics'],
  { host, port, checkReady }: HttpServerConfig,
): Promise<HttpServer> {
  let serving: Context | undefined
  const underWay = new Set<Promise<void>>()
  const pages: Record<string, () => Promise<Page>> = {
    '/livez': async () => plain(200, 'ok'),
    '/readyz': () =>
      checkReady().then(
        () => plain(200, 'ok'),
        () => plain(503, 'not ready'),
      ),
    '/metrics': async () => ({
      status: 200,
      type: metrics.registry.contentType,
      text: await metrics.registry.metrics(),
    }),
  }

  async function answer(request: IncomingMessage): Promise<Page> {
    const [path = ''] = (request.url ?? '').split('?', 1)
    if (path.startsWith('/webhooks/')) return webhook(request, path)
    const page = Object.hasOwn(pages, path) ? pages[path] : undefined
    if (!page) return plain(404, 'there is /metrics, /livez and /readyz')
    return request.method === 'GET' || request.method === 'HEAD' ? page() : plain(405, 'GET only')
  }

  async function webhook(request: IncomingMessage, path: string): Promise<Page> {
    if (!serving) return plain(503, 'not ready')
    const reader = serving.receiptReaders.find((each) => each.path === path)
    if (!reader) return plain(404, 'there is no such webhook')
    if (request.method !== 'POST') return plain(405, 'POST only')
    const { status, text, after } = await takeReceipt(serving, reader, request)
    return { ...plain(status, text), after }
  }

  function keep(work: Promise<void>): void {
    const done = work.finally(() => underWay.delete(done))
    underWay.add(done)
  }

  async function respond(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { status, type, text, after } = await answer(request).catch((error) => {
      // Who leaves in the middle of a body is no failure of ours.
      serving?.log[request.complete ? 'error' : 'debug']({ error }, 'http request failed')
      // Vendors come again with what could not be recorded.
      return plain(503, 'try again')
    })
    const allow = request.url?.startsWith('/webhooks/') ? 'POST' : 'GET, HEAD'
    // A body that was not read to its end makes the connection useless for another request.
    const close = !request.complete && { connection: 'close' }
    response.writeHead(status, { 'content-type': type, ...(status === 405 && { allow }), ...close }).end(text)
    await after?.().catch((error) => serving?.log.error({ error }, 'fallback after a receipt failed'))
  }

  // Node looks for what took too long every 30 s unless told.
  const limits = { requestTimeout: 10_000, headersTimeout: 5_000, connectionsCheckingInterval: 1_000 }
  const server = createServer(limits, (request, response) => keep(respond(request, response)))
  server.maxConnections = MAX_CONNECTIONS
  server.listen(port, host)
  await once(server, 'listening')

  return {
    port: (server.address() as AddressInfo).port,
    serve(ctx) {
      serving = ctx
    },
    async [Symbol.asyncDispose]() {
      server.close()
      server.closeAllConnections()
      await Promise.all(underWay)
    },
  }
}

function plain(status: number, text: string): Page {
  return { status, type: 'text/plain; charset=utf-8', text: `${text}\n` }
}
