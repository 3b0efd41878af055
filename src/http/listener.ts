import { once } from 'node:events'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo, Socket } from 'node:net'
import { createSeats } from '../net/seats.ts'

export interface ListenerConfig {
  host: string
  /** 0 is any free port. */
  port: number
  /** Answers a request. */
  answer(request: IncomingMessage): Promise<Page>
  /** Hears of an answer that failed. The caller is told 503. */
  onError(error: unknown, request: IncomingMessage): void
}

/** An HTTP/1.1 listener. Disposing waits for what was to be done after the answers. */
export interface Listener extends AsyncDisposable {
  readonly port: number
}

/** An answer. */
export interface Page {
  status: number
  type: string
  text: string
  /** The methods that there are, for 405. */
  allow?: string
  /** To be done once that is answered. Never rejects. */
  after?: (() => Promise<void>) | undefined
}

const MAX_CONNECTIONS = 1_000
/** Connections that are being closed, besides those that may be there. */
const LEAVING = 200
/** Node looks for what took too long every 30 s unless told. */
const LIMITS = { requestTimeout: 10_000, headersTimeout: 5_000, connectionsCheckingInterval: 1_000 }

/** Listens until it is disposed of. A connection that is idle makes room for a new one when there are too many. */
export async function startListener({ host, port, answer, onError }: ListenerConfig): Promise<Listener> {
  const underWay = new Set<Promise<void>>()

  async function respond(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { status, type, text, allow, after } = await answer(request).catch((error) => {
      onError(error, request)
      return plain(503, 'try again')
    })
    // A body that was not read to its end makes the connection useless for another request.
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

/** A line of text. */
export function plain(status: number, text: string): Page {
  return { status, type: 'text/plain; charset=utf-8', text: `${text}\n` }
}
