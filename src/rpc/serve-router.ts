import { once } from 'node:events'
import http2 from 'node:http2'
import { ConnectError, type ConnectRouter, createContextValues } from '@connectrpc/connect'
import { universalRequestFromNodeRequest, universalResponseToNodeResponse } from '@connectrpc/connect-node'
import { RoutingService } from '../../gen/bank/signature/v1/routing_pb.ts'
import type { Context } from '../context.ts'
import { overloaded } from '../errors.ts'
import { capDeadline } from './deadline.ts'
import { createBodyReader } from './request-body.ts'
import { answerTrailersOnly, refuse } from './trailers-only.ts'
import { toConnectError } from './wire-errors.ts'

/** Enough for a routing table, and for a page of a list. */
export const MAX_MESSAGE_BYTES = 1024 * 1024
/** For the requests of all other methods. */
const MAX_SMALL_MESSAGE_BYTES = 32 * 1024
const { publishRoutingTable, simulateRoutingTable } = RoutingService.method
const WITH_TABLES = new Set<unknown>([publishRoutingTable, simulateRoutingTable])

/** The most time of a call, whatever its deadline. */
const MAX_CALL_MS = 60_000
/** The most time of a stream. A watched signature has ended by then: a code is valid for up to 10 minutes. */
export const MAX_STREAM_MS = 15 * 60_000
/** A request has this time to arrive, and an answer to be received. */
const PATIENCE_MS = 10_000

/**
 * Returns the HTTP/2 request handler for `router`. It replaces connectNodeAdapter, which lets a request with a broken
 * authority end the process and writes to the console.
 */
export function serveRouter({ handlers }: ConnectRouter, { log }: Pick<Context, 'log'>) {
  const byPath = new Map(handlers.map((handler) => [handler.requestPath, handler]))
  const readMessages = createBodyReader()
  return async (request: http2.Http2ServerRequest, response: http2.Http2ServerResponse) => {
    const handler = byPath.get(request.url)
    if (!handler) return void response.writeHead(404).end()
    const { stream } = response
    const { methodKind, input } = handler.method
    const maxMessageBytes = WITH_TABLES.has(handler.method) ? MAX_MESSAGE_BYTES : MAX_SMALL_MESSAGE_BYTES
    // After an answer, neither side closes the stream of a request that was not read to its end (RFC 9113, section 8.1).
    const endUnread = () => {
      if (!request.readableEnded) setImmediate(() => stream.destroy())
    }
    const cut = () => request.destroy(toConnectError(overloaded('too many requests are unfinished')))
    const messages = readMessages(request, { input, maxMessageBytes, cut })
    stream.once('wantTrailers', endUnread)
    try {
      const isBidi = methodKind === 'bidi_streaming'
      if (!isBidi) hurry(stream, once(request, 'end'))
      const body = isBidi ? messages : await readWhole(messages)
      if (stream.destroyed) return
      if (request.errored instanceof ConnectError) {
        // Not through the router: a call costs memory, which is scarce at this moment.
        refuse(stream, request.errored)
        return endUnread()
      }
      const call = universalRequestFromNodeRequest(request, response, undefined, createContextValues())
      capDeadline(call.header, methodKind === 'unary' ? MAX_CALL_MS : MAX_STREAM_MS)
      const answer = await handler({ ...call, body })
      if (methodKind === 'unary') hurry(stream, once(stream, 'close'))
      if (await answerTrailersOnly(answer, stream)) endUnread()
      else await universalResponseToNodeResponse(answer, response)
    } catch (error) {
      // The request is not valid HTTP, or its connection has gone.
      log.debug({ error }, 'connection failed')
      if (response.headersSent) stream.close()
      else response.writeHead(400).end()
    }
  }
}

/**
 * Resolves with the same messages once they have ended or failed. A call that waited for them instead would hold five times
 * as much memory.
 */
async function readWhole<T>(messages: AsyncIterable<T>): Promise<AsyncIterable<T>> {
  const all = Array.fromAsync(messages)
  await Promise.allSettled([all])
  return (async function* () {
    yield* await all
  })()
}

/** Resets `stream` unless `done` settles in time. Ends its connection if that does not help, to free what it holds. */
function hurry(stream: http2.ServerHttp2Stream, done: Promise<unknown>): void {
  const { session } = stream
  let timer = setTimeout(() => {
    stream.close(http2.constants.NGHTTP2_CANCEL)
    timer = setTimeout(() => session?.destroy(), PATIENCE_MS)
  }, PATIENCE_MS)
  const stop = () => clearTimeout(timer)
  stream.once('close', stop)
  done.then(stop, stop)
}
