import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { Metrics } from '../telemetry/metrics.ts'

export interface HttpServerConfig {
  host: string
  /** 0 is any free port. */
  port: number
  metrics: Metrics
  /** Rejects while the service can't do its work. */
  checkReady: () => Promise<void>
}

/** The HTTP/1.1 listener for machines that watch the service. */
export interface HttpServer extends AsyncDisposable {
  readonly port: number
}

/** Serves /metrics, /livez (the process turns) and /readyz (it can also reach its database and isn't stopping). */
export async function startHttpServer({ host, port, metrics, checkReady }: HttpServerConfig): Promise<HttpServer> {
  const pages: Record<string, () => Promise<{ status: number; type: string; text: string }>> = {
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
  const server = createServer({ requestTimeout: 10_000, headersTimeout: 5_000 }, async (request, response) => {
    const [path = ''] = (request.url ?? '').split('?', 1)
    const page = Object.hasOwn(pages, path) ? pages[path] : undefined
    const readable = request.method === 'GET' || request.method === 'HEAD'
    const { status, type, text } = !page
      ? plain(404, 'there is /metrics, /livez and /readyz')
      : readable
        ? await page()
        : plain(405, 'GET only')
    response.writeHead(status, { 'content-type': type, ...(status === 405 && { allow: 'GET, HEAD' }) }).end(text)
  })
  server.listen(port, host)
  await once(server, 'listening')

  return {
    port: (server.address() as AddressInfo).port,
    async [Symbol.asyncDispose]() {
      server.close()
      server.closeAllConnections()
    },
  }
}

function plain(status: number, text: string) {
  return { status, type: 'text/plain; charset=utf-8', text: `${text}\n` }
}
