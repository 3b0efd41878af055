import { once } from 'node:events'
import http2 from 'node:http2'
import type { AddressInfo } from 'node:net'
import { createConnectRouter } from '@connectrpc/connect'
import { compressionGzip } from '@connectrpc/connect-node'
import { RoutingService } from '../../gen/bank/signature/v1/routing_pb.ts'
import { SignatureService } from '../../gen/bank/signature/v1/signature_pb.ts'
import { Health } from '../../gen/health/v1/health_pb.ts'
import type { Context } from '../context.ts'
import { limitConnections } from './connections.ts'
import { createHealth } from './health.ts'
import { observeCalls, refuseCalls, type StorageFailure, shuttingDown, translateErrors } from './observe.ts'
import { addReflection } from './reflection.ts'
import { routingService } from './routing-service.ts'
import { MAX_MESSAGE_BYTES, MAX_STREAM_MS, serveRouter } from './serve-router.ts'
import { signatureService } from './signature-service.ts'
import { toConnectError } from './wire-errors.ts'

export interface RpcServerConfig {
  host: string
  /** 0 is any free port. */
  port: number
  reflection: boolean
  /** About as long as a connection lasts. */
  maxConnectionAgeMs: number
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

const MAX_HEADER_BYTES = 16 * 1024
const MAX_STREAMS_PER_CONNECTION = 100
const CONNECTIONS = {
  most: 1_000,
  idleMs: 300_000,
  // A watched signature gets to its end.
  graceMs: MAX_STREAM_MS,
}
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
      settings: { maxConcurrentStreams: MAX_STREAMS_PER_CONNECTION, maxHeaderListSize: MAX_HEADER_BYTES },
      // A client that opens and resets streams faster than this is cut off (CVE-2023-44487).
      streamResetBurst: 200,
      streamResetRate: 50,
    },
    serveRouter(router, ctx),
  )
  const connections = limitConnections(server, { ...CONNECTIONS, ageMs: config.maxConnectionAgeMs })
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
      connections.close()
      const overdue = AbortSignal.timeout(config.drainMs)
      await Promise.race([calls.idle(), once(overdue, 'abort')])
      shutdown.abort(toConnectError(shuttingDown()))
      // A connection that was told to close does so with the last byte of its last stream.
      await Promise.race([closed, once(AbortSignal.timeout(ABORT_GRACE_MS), 'abort')])
      connections.destroy()
      await closed
    },
  }
}

/** Calls that were cut off get this long to record what became of them, and answers to reach their callers. */
const ABORT_GRACE_MS = 3_000
