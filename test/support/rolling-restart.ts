import { randomUUID } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { Code, ConnectError, createClient } from '@connectrpc/connect'
import { createGrpcTransport } from '@connectrpc/connect-node'
import type { ServiceError } from '@grpc/grpc-js'
import { SignatureService } from '../../gen/bank/signature/v1/signature_pb.ts'
import { ErrorInfoSchema } from '../../gen/google/rpc/error_details_pb.ts'
import type { Sandbox } from '../../src/sandbox/sandbox.ts'
import { codeIn, startRequest, transaction } from './app.ts'
import { createGrpcJsClient } from './grpc-js.ts'

const { startSignature, completeSignature, getSignature } = SignatureService.method

/** What clients saw, who try once more on the other replica after UNAVAILABLE. */
export interface Load {
  /** The ids of challenges that were told to be sent, with the vendor's ids of their messages. */
  readonly sent: Map<string, string>
  /** The ids of signatures that were told to be signed. */
  readonly signed: Set<string>
  readonly failures: string[]
  /** How many calls were made, and how many of them a second time. */
  calls: number
  retries: number
}

interface Caller {
  start: (request: ReturnType<typeof startRequest>) => Promise<{
    challenge?: { id: string; providerChallengeId: string } | undefined
    signature?: { id: string } | undefined
  }>
  complete: (request: {
    signatureId: string
    code: string
    transaction: ReturnType<typeof transaction>
  }) => Promise<unknown>
  get: (request: { signatureId: string }) => Promise<unknown>
}

/** Calls of one client after the other to two replicas until told to stop: start, read, complete, read. */
export function startLoad(urls: [string, string], sandbox: Sandbox, clients: number, signal: AbortSignal) {
  const load: Load = { sent: new Map(), signed: new Set(), failures: [], calls: 0, retries: 0 }

  async function call<T>(
    callers: [Caller, Caller],
    n: number,
    name: string,
    make: (caller: Caller) => Promise<T>,
  ): Promise<T> {
    const [first, second] = n % 2 ? callers : [callers[1], callers[0]]
    load.calls += 1
    try {
      return await make(first)
    } catch (error) {
      if (codeOf(error) !== Code.Unavailable) throw new Error(`${name}: ${describe(error)}`, { cause: error })
      load.retries += 1
      return await make(second).catch((again) => {
        throw new Error(`${name} after ${describe(error)}: ${describe(again)}`, { cause: again })
      })
    }
  }

  async function work(callers: [Caller, Caller], offset: number): Promise<void> {
    for (let n = offset; !signal.aborted; n += 1) {
      try {
        const request = startRequest()
        const { signature, challenge } = await call(callers, n, 'start', (caller) => caller.start(request))
        const signatureId = signature?.id ?? ''
        load.sent.set(challenge?.id ?? '', challenge?.providerChallengeId ?? '')
        await call(callers, n, 'get', (caller) => caller.get({ signatureId }))
        const message = sandbox.messages.find(({ sid }) => sid === challenge?.providerChallengeId)
        const submitted = { signatureId, code: codeIn(message?.body), transaction: transaction() }
        await call(callers, n + 1, 'complete', (caller) => caller.complete(submitted))
        load.signed.add(signatureId)
        await call(callers, n, 'get', (caller) => caller.get({ signatureId }))
      } catch (error) {
        load.failures.push(error instanceof Error ? error.message : String(error))
      }
      await sleep(20)
    }
  }

  const all = Array.from({ length: clients }, (_, n) => urls.map(n % 2 ? overConnect : overGrpcJs) as [Caller, Caller])
  return {
    load,
    ended: Promise.all(all.map((callers, n) => work(callers, n >> 1))),
    /** Resolves once every client has found that replica again. */
    async found(replica: 0 | 1): Promise<void> {
      for (const callers of all) {
        while ((await codeFrom(callers[replica])) === Code.Unavailable) await sleep(50)
      }
    },
  }
}

function overConnect(baseUrl: string): Caller {
  const client = createClient(SignatureService, createGrpcTransport({ baseUrl }))
  return { start: client.startSignature, complete: client.completeSignature, get: client.getSignature }
}

function overGrpcJs(url: string): Caller {
  const client = createGrpcJsClient(url, {
    'grpc.initial_reconnect_backoff_ms': 100,
    'grpc.max_reconnect_backoff_ms': 300,
  })
  return {
    start: (request) => client.call(startSignature, request),
    complete: (request) => client.call(completeSignature, request),
    get: (request) => client.call(getSignature, request),
  }
}

async function codeFrom(caller: Caller): Promise<number> {
  return caller.get({ signatureId: randomUUID() }).then(() => 0, codeOf)
}

function codeOf(error: unknown): number {
  if (!(error instanceof ConnectError)) return (error as ServiceError).code
  // The service's own errors all have an ErrorInfo. Where a connection goes, gRPC's own clients say UNAVAILABLE or quietly
  // open another one; Connect's has other words.
  return error.findDetails(ErrorInfoSchema).length === 0 ? Code.Unavailable : error.code
}

function describe(error: unknown): string {
  return `${Code[codeOf(error)]} ${error instanceof Error ? error.message : ''}`
}
