import type { IncomingMessage } from 'node:http'
import type { Context } from '../context.ts'
import { type Listener, type Page, plain, startListener } from './listener.ts'
import { takeReceipt } from './webhooks.ts'

export interface HttpServerConfig {
  host: string
  /** 0 is any free port. */
  port: number
}

/** The listener for the vendors' webhooks. */
export interface HttpServer extends Listener {
  /** Starts to record receipts. Until then webhooks answer 503. */
  serve(ctx: Context): void
}

/** Serves the vendors' webhooks. Disposing waits for the fallbacks that receipts have started. */
export async function startHttpServer({ host, port }: HttpServerConfig): Promise<HttpServer> {
  let serving: Context | undefined

  async function answer(request: IncomingMessage): Promise<Page> {
    const [path = ''] = (request.url ?? '').split('?', 1)
    if (path.startsWith('/webhooks/')) return webhook(request, path)
    return plain(404, 'only /webhooks/ is served here')
  }

  async function webhook(request: IncomingMessage, path: string): Promise<Page> {
    if (!serving) return plain(503, 'not ready')
    const reader = serving.receiptReaders.find((each) => each.path === path)
    if (!reader) return plain(404, 'no such webhook')
    if (request.method !== 'POST') return { ...plain(405, 'POST only'), allow: 'POST' }
    const { status, text, type, after } = await takeReceipt(serving, reader, request)
    return { ...plain(status, text), ...(type && { type }), after }
  }

  const listener = await startListener({
    host,
    port,
    answer,
    onError(error, request) {
      // A caller that leaves in the middle of a body is no failure of ours. Vendors send what was not recorded again.
      serving?.log[request.complete ? 'error' : 'debug']({ error }, 'http request failed')
    },
  })
  return {
    ...listener,
    serve(ctx) {
      serving = ctx
    },
  }
}
