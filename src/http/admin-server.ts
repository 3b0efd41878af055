import type { Context } from '../context.ts'
import { type Listener, type Page, plain, startListener } from './listener.ts'

export interface AdminServerConfig {
  host: string
  /** 0 is any free port. */
  port: number
  metrics: Context['metrics']
  /** Rejects while the service can't do its work. */
  checkReady: () => Promise<void>
}

/**
 * Serves those who watch the service, on a port that nobody else reaches: /metrics, /livez (the process turns) and /readyz
 * (it can also reach its database and isn't stopping).
 */
export function startAdminServer({ host, port, metrics, checkReady }: AdminServerConfig): Promise<Listener> {
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
  return startListener({
    host,
    port,
    async answer({ method = '', url = '' }) {
      const [path = ''] = url.split('?', 1)
      const page = Object.hasOwn(pages, path) ? pages[path] : undefined
      if (!page) return plain(404, 'there is /metrics, /livez and /readyz')
      return ['GET', 'HEAD'].includes(method) ? page() : { ...plain(405, 'GET only'), allow: 'GET, HEAD' }
    },
    // None of the pages fails, but that a metric can't be read.
    onError: () => {},
  })
}
