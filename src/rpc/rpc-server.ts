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
  /** A connection is ended at about this age. */
  maxConnectionAgeMs: number
  /** How long calls under way may go on after the server has begun to stop. */
  drainMs: number
  storageFailure: StorageFailure
}

/** The gRPC listener. Disposing fails health checks, waits for calls under way, and then closes every connection. */
export interface RpcServer extends AsyncDisposable {
  readonly port: number
  /** Sets the answer of health checks. It is serving at first, and not serving for good once the server stops. */
  setReady(isReady: boolean): void
}

const MAX_HEADER_BYTES = 16 * 1024
const MAX_STREAMS_PER_CONNECTION = 100
const CONNECTIONS = {
  most: 1_000,
  idleMs: 300_000,
  // Long enough for a watched signature to end.
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
    // Drop unknown fields: up to 1 MiB of them would stay in memory while the call waits for its provider.
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
      // A client that resets streams faster than this is disconnected (CVE-2023-44487).
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
      // Sends GOAWAY: open streams go on, and the client opens new ones elsewhere.
      connections.close()
      const overdue = AbortSignal.timeout(config.drainMs)
      await Promise.race([calls.idle(), once(overdue, 'abort')])
      shutdown.abort(toConnectError(shuttingDown()))
      // A closing connection ends with the last byte of its last stream.
      await Promise.race([closed, once(AbortSignal.timeout(ABORT_GRACE_MS), 'abort')])
      connections.destroy()
      await closed
    },
  }
}

/** Calls that were cut off have this time to record their outcome, and their answers to reach the callers. */
const ABORT_GRACE_MS = 3_000
