import { once } from 'node:events'
import http2 from 'node:http2'
import type { AddressInfo, Socket } from 'node:net'
import { type ConnectRouter, createConnectRouter, createContextValues } from '@connectrpc/connect'
import {
  compressionGzip,
  universalRequestFromNodeRequest,
  universalResponseToNodeResponse,
} from '@connectrpc/connect-node'
import { RoutingService } from '../../gen/bank/signature/v1/routing_pb.ts'
import { SignatureService } from '../../gen/bank/signature/v1/signature_pb.ts'
import { Health } from '../../gen/health/v1/health_pb.ts'
import type { Context } from '../context.ts'
import { toConnectError } from './errors.ts'
import { createHealth } from './health.ts'
import { observeCalls, refuseCalls, type StorageFailure, shuttingDown, translateErrors } from './observe.ts'
import { addReflection } from './reflection.ts'
import { createBodyReader } from './request-body.ts'
import { routingService } from './routing-service.ts'
import { signatureService } from './signature-service.ts'

export interface RpcServerConfig {
  host: string
  /** 0 is any free port. */
  port: number
  reflection: boolean
  /** How long calls under way may go on once the server drains. */
  drainMs: number
  storageFailure: StorageFailure
}

/** The gRPC listener. Disposing tells health checks, lets calls under way end, and then closes every connection. */
export interface RpcServer extends AsyncDisposable {
  readonly port: number
  /** What health checks are told from now on, until the server stops. It serves at first. */
  setReady(isReady: boolean): void
}

const MAX_MESSAGE_BYTES = 1024 * 1024
const MAX_TIMEOUT_MS = 60_000
const MAX_STREAMS_PER_CONNECTION = 100
const MAX_CONNECTIONS = 1_000
/** A new connection has this long to say that it speaks HTTP/2, and a request or an answer to get across. */
const PATIENCE_MS = 10_000

/** Serves the contract, health and reflection as gRPC over HTTP/2 in cleartext. */
export async function startRpcServer(ctx: Context, config: RpcServerConfig): Promise<RpcServer> {
  const health = createHealth([SignatureService.typeName, RoutingService.typeName])
  const shutdown = new AbortController()
  let isStopping = false

  const router = createConnectRouter({
    grpcWeb: false,
    connect: false,
    acceptCompression: [compressionGzip],
    readMaxBytes: MAX_MESSAGE_BYTES,
    writeMaxBytes: MAX_MESSAGE_BYTES,
    // Kept, a megabyte of them would wait with the call for its provider.
    binaryOptions: { readUnknownFields: false },
    maxTimeoutMs: MAX_TIMEOUT_MS,
    shutdownSignal: shutdown.signal,
    interceptors: [translateErrors(ctx, config.storageFailure), refuseCalls(ctx, () => isStopping)],
  })
  router.service(SignatureService, signatureService(ctx))
  router.service(RoutingService, routingService(ctx))
  router.service(Health, health.service)
  if (config.reflection) addReflection(router)
  const calls = observeCalls(router, ctx)

  const server = http2.createServer(
    {
      settings: { maxConcurrentStreams: MAX_STREAMS_PER_CONNECTION },
      // A client that opens and resets streams faster than this is cut off (CVE-2023-44487).
      streamResetBurst: 200,
      streamResetRate: 50,
    },
    serveRouter(router, ctx),
  )
  server.maxConnections = MAX_CONNECTIONS
  const sessions = new Set<http2.ServerHttp2Session>()
  server.on('session', (session) => {
    sessions.add(session)
    const silent = setTimeout(() => session.destroy(), PATIENCE_MS)
    for (const event of ['remoteSettings', 'close'] as const) session.once(event, () => clearTimeout(silent))
    session.on('close', () => sessions.delete(session))
    session.on('error', () => session.destroy())
  })
  // Not the sessions' own: one that is closing no longer lets go of its socket when it is destroyed.
  const sockets = new Set<Socket>()
  server.on('connection', (socket: Socket) => {
    sockets.add(socket)
    socket.on('close', () => sockets.delete(socket))
  })
  server.listen(config.port, config.host)
  await once(server, 'listening')
  health.set(true)

  return {
    port: (server.address() as AddressInfo).port,
    setReady(isReady) {
      if (!isStopping) health.set(isReady)
    },
    async [Symbol.asyncDispose]() {
      isStopping = true
      health.set(false)
      const closed = once(server, 'close')
      server.close()
      // GOAWAY: streams that are open go on, new ones are the client's to open elsewhere.
      for (const session of sessions) session.close()
      const overdue = AbortSignal.timeout(config.drainMs)
      await Promise.race([calls.idle(), once(overdue, 'abort')])
      shutdown.abort(toConnectError(shuttingDown()))
      // A connection that was told to close does so with the last byte of its last stream.
      await Promise.race([closed, once(AbortSignal.timeout(ABORT_GRACE_MS), 'abort')])
      for (const socket of sockets) socket.destroy()
      await closed
    },
  }
}

/** Calls that were cut off get this long to record what became of them, and answers to reach their callers. */
const ABORT_GRACE_MS = 3_000

/** As connectNodeAdapter does; but that one lets a request with a broken authority end the process, and writes to the console. */
function serveRouter({ handlers }: ConnectRouter, { log }: Pick<Context, 'log'>) {
  const byPath = new Map(handlers.map((handler) => [handler.requestPath, handler]))
  const wholeMessages = createBodyReader(MAX_MESSAGE_BYTES)
  return async (request: http2.Http2ServerRequest, response: http2.Http2ServerResponse) => {
    const handler = byPath.get(request.url)
    if (!handler) return void response.writeHead(404).end()
    // After an answer to a request that was not read to its end, nobody would ever close the stream (RFC 9113, section 8.1).
    response.stream.once('wantTrailers', () =>
      setImmediate(() => {
        if (!request.readableEnded) response.stream.destroy()
      }),
    )
    const { methodKind } = handler.method
    if (methodKind !== 'bidi_streaming') hurry(response.stream, once(request, 'end'))
    try {
      const call = universalRequestFromNodeRequest(request, response, undefined, createContextValues())
      const answer = await handler({ ...call, body: wholeMessages(request) })
      if (methodKind === 'unary') hurry(response.stream, once(response.stream, 'close'))
      await universalResponseToNodeResponse(answer, response)
    } catch (error) {
      // The request is no HTTP, or its connection has gone.
      log.debug({ error }, 'connection failed')
      if (response.headersSent) response.stream.close()
      else response.writeHead(400).end()
    }
  }
}

/** Resets a stream on which something takes too long, or ends its connection when that doesn't help: what it holds is held for nobody. */
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
