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
import { AppError } from '../errors.ts'
import { toConnectError } from './errors.ts'
import { createHealth } from './health.ts'
import { observeCalls, refuseOverload, type StorageFailure, translateErrors } from './observe.ts'
import { addReflection } from './reflection.ts'
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
}

const MAX_MESSAGE_BYTES = 1024 * 1024
const MAX_TIMEOUT_MS = 60_000
const MAX_STREAMS_PER_CONNECTION = 100

/** Serves the contract, health and reflection as gRPC over HTTP/2 in cleartext. */
export async function startRpcServer(ctx: Context, config: RpcServerConfig): Promise<RpcServer> {
  const health = createHealth([SignatureService.typeName, RoutingService.typeName])
  const shutdown = new AbortController()

  const router = createConnectRouter({
    grpcWeb: false,
    connect: false,
    acceptCompression: [compressionGzip],
    readMaxBytes: MAX_MESSAGE_BYTES,
    writeMaxBytes: MAX_MESSAGE_BYTES,
    maxTimeoutMs: MAX_TIMEOUT_MS,
    shutdownSignal: shutdown.signal,
    interceptors: [translateErrors(ctx, config.storageFailure), refuseOverload(ctx)],
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
  const sessions = new Set<http2.ServerHttp2Session>()
  server.on('session', (session) => {
    sessions.add(session)
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
    async [Symbol.asyncDispose]() {
      health.set(false)
      const closed = once(server, 'close')
      server.close()
      // GOAWAY: streams that are open go on, new ones are the client's to open elsewhere.
      for (const session of sessions) session.close()
      const overdue = AbortSignal.timeout(config.drainMs)
      await Promise.race([calls.idle(), once(overdue, 'abort')])
      shutdown.abort(toConnectError(new AppError('SHUTTING_DOWN', 'the server is stopping')))
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
  return async (request: http2.Http2ServerRequest, response: http2.Http2ServerResponse) => {
    const handler = byPath.get(request.url)
    if (!handler) return void response.writeHead(404).end()
    // After an answer to a request that was not read to its end, nobody would ever close the stream (RFC 9113, section 8.1).
    response.stream.once('wantTrailers', () =>
      setImmediate(() => {
        if (!request.readableEnded) response.stream.destroy()
      }),
    )
    try {
      const call = universalRequestFromNodeRequest(request, response, undefined, createContextValues())
      await universalResponseToNodeResponse(await handler(call), response)
    } catch (error) {
      // The request is no HTTP, or its connection has gone.
      log.debug({ error }, 'connection failed')
      if (response.headersSent) response.stream.close()
      else response.writeHead(400).end()
    }
  }
}
