import { once } from 'node:events'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo, Socket } from 'node:net'
import { createSeats } from '../net/seats.ts'

export interface ListenerConfig {
  host: string
  /** 0 is any free port. */
  port: number
  /** Returns the answer to a request. */
  answer(request: IncomingMessage): Promise<Page>
  /** Called if `answer` rejects. The caller gets 503. */
  onError(error: unknown, request: IncomingMessage): void
}

/** An HTTP/1.1 listener. Disposing closes it, and waits until each {@link Page.after} is done. */
export interface Listener extends AsyncDisposable {
  readonly port: number
}

/** An answer. */
export interface Page {
  status: number
  type: string
  text: string
  /** The methods that are allowed. Set with 405. */
  allow?: string
  /** Called after the answer was sent. Must not reject. */
  after?: (() => Promise<void>) | undefined
}

const MAX_CONNECTIONS = 1_000
/** Connections that may be closing, beyond the most that may be open. */
const LEAVING = 200
/** Node checks its timeouts every 30 s by default. */
const LIMITS = { requestTimeout: 10_000, headersTimeout: 5_000, connectionsCheckingInterval: 1_000 }

/** Listens until it is disposed of. If there are too many connections, an idle one is closed for each new one. */
export async function startListener({ host, port, answer, onError }: ListenerConfig): Promise<Listener> {
  const underWay = new Set<Promise<void>>()

  async function respond(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { status, type, text, allow, after } = await answer(request).catch((error) => {
      onError(error, request)
      return plain(503, 'try again')
    })
    // A connection with an unread rest of a body can't be used for another request.
    const close = !request.complete && { connection: 'close' }
    response.writeHead(status, { 'content-type': type, ...(allow && { allow }), ...close }).end(text)
    await after?.()
  }

  const server = createServer(LIMITS, (request, response) => {
    const done = respond(request, response).finally(() => underWay.delete(done))
    underWay.add(done)
  })
  const seats = createSeats<Socket>(MAX_CONNECTIONS, (socket) => socket.destroy())
  server.maxConnections = MAX_CONNECTIONS + LEAVING
  server.on('connection', (socket: Socket) => {
    socket.on('close', () => seats.leave(socket))
    seats.take(socket)
  })
  server.on('request', ({ socket }: IncomingMessage, response: ServerResponse) => {
    seats.work(socket)
    response.on('close', () => seats.rest(socket))
  })
  server.listen(port, host)
  await once(server, 'listening')

  return {
    port: (server.address() as AddressInfo).port,
    async [Symbol.asyncDispose]() {
      server.close()
      server.closeAllConnections()
      await Promise.all(underWay)
    },
  }
}

/** Returns a page with one line of plain text. */
export function plain(status: number, text: string): Page {
  return { status, type: 'text/plain; charset=utf-8', text: `${text}\n` }
}
