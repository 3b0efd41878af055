import {
  Code,
  ConnectError,
  type ConnectRouter,
  type ContextValues,
  createContextKey,
  type Interceptor,
} from '@connectrpc/connect'
import type { UniversalHandlerFn, UniversalServerRequest, UniversalServerResponse } from '@connectrpc/connect/protocol'
import { codeToString } from '@connectrpc/connect/protocol-connect'
import { findTrailerError, setTrailerStatus } from '@connectrpc/connect/protocol-grpc'
import { v7 as uuidv7 } from 'uuid'
import type { Context } from '../context.ts'
import { AppError, overloaded } from '../errors.ts'
import { internalError, toConnectError } from './wire-errors.ts'

/** What a call's log line tells beside method, code and time. */
const CALL = createContextKey<Record<string, string>>({})

/** Adds to the log line of a call. Nothing personal: ids and reasons. */
export function noteCall(values: ContextValues, fields: Record<string, string>): void {
  values.set(CALL, { ...values.get(CALL), ...fields })
}

/** Tells an error that means that the database is away, or can take no more. */
export type StorageFailure = (error: unknown) => 'STORAGE_UNAVAILABLE' | 'OVERLOADED' | undefined

/** Turns whatever a use case throws into what the caller is told. `storageFailure` knows the database's own errors. */
export function translateErrors({ log }: Pick<Context, 'log'>, storageFailure: StorageFailure): Interceptor {
  return (next) => async (request) => {
    const { signal, contextValues } = request
    const giveUp = () => {
      if (signal.aborted) throw goneAway(signal.reason)
    }
    const refuse = (error: AppError) => {
      noteCall(contextValues, { ...error.metadata, reason: error.reason })
      return toConnectError(error)
    }
    const translate = (error: unknown) => {
      if (error instanceof ConnectError) return error
      if (error instanceof AppError) return refuse(error)
      const correlationId = uuidv7()
      noteCall(contextValues, { correlation_id: correlationId })
      const failure = storageFailure(error)
      log.error({ correlation_id: correlationId, error }, failure ? 'storage unavailable' : 'bug')
      if (failure === 'OVERLOADED') return refuse(storageBusy())
      if (failure) return refuse(new AppError(failure, 'the database is not available'))
      return internalError(correlationId)
    }
    const fail = (error: unknown): never => {
      // Work that stopped because its caller has gone has nothing else to say.
      if (error === signal.reason) giveUp()
      const translated = translate(error)
      // What failed is on record by now; a caller that has gone is told nothing of it.
      giveUp()
      throw translated
    }
    try {
      giveUp()
      const response = await next(request)
      giveUp()
      // A stream fails while it is read.
      return response.stream ? { ...response, message: failing(response.message, fail) } : response
    } catch (error) {
      return fail(error)
    }
  }
}

/** Refuses calls before they do anything: while the server stops, or too many wait for the database already. Probes go on. */
export function refuseCalls({ isStorageBusy }: Pick<Context, 'isStorageBusy'>, isStopping: () => boolean): Interceptor {
  return (next) => async (request) => {
    if (request.service.typeName.startsWith('grpc.')) return next(request)
    if (isStopping()) throw shuttingDown()
    if (isStorageBusy()) throw storageBusy()
    return next(request)
  }
}

/** What callers are told who come while the server stops, or are still there at its end. */
export function shuttingDown(): AppError {
  return new AppError('SHUTTING_DOWN', 'the server is stopping')
}

function storageBusy(): AppError {
  return overloaded('too many calls wait for the database')
}

async function* failing<T>(messages: AsyncIterable<T>, fail: (error: unknown) => never): AsyncGenerator<T> {
  try {
    yield* messages
  } catch (error) {
    fail(error)
  }
}

/** The deadline and our own stop have their codes; however else a caller leaves, it has cancelled. */
function goneAway(reason: unknown): ConnectError {
  const error = ConnectError.from(reason)
  const told = error.code === Code.DeadlineExceeded || error.code === Code.Unavailable
  return told ? error : new ConnectError('the caller has gone', Code.Canceled)
}

/** Calls under way, to wait for when the process drains. */
export interface CallsUnderWay {
  /** Resolves when no unary call is under way, at once if there is none. */
  idle(): Promise<void>
}

/**
 * Makes every RPC leave one log line and one measurement, also those that Connect refuses before a handler sees them.
 * Call it when all services are added.
 */
export function observeCalls(router: ConnectRouter, { log, metrics }: Pick<Context, 'log' | 'metrics'>): CallsUnderWay {
  let underWay = 0
  let whenIdle = Promise.withResolvers<void>()

  router.handlers.forEach((handler, index) => {
    const { service, method } = handler
    const unary = method.methodKind === 'unary'
    const name = `${service.typeName}/${method.name}`
    // Probes and reflection are many and tell nothing.
    const level = service.typeName.startsWith('grpc.') ? 'debug' : 'info'

    const leave = () => {
      if (unary) underWay -= 1
      if (underWay > 0) return
      whenIdle.resolve()
      whenIdle = Promise.withResolvers()
    }

    const observed: UniversalHandlerFn = async (request) => {
      const startedAt = performance.now()
      if (unary) underWay += 1
      const response = await handler(request).catch((error) => {
        leave()
        throw error
      })
      refuseMalformed(request, response)
      const done = () => {
        const code = codeName(response)
        const seconds = (performance.now() - startedAt) / 1_000
        // A stream lasts as long as its reader likes, which says nothing of how fast we are.
        if (unary) metrics.rpcDuration.observe({ method: name, code }, seconds)
        log[level](
          { method: name, code, duration_ms: Math.round(seconds * 1_000), ...request.contextValues?.get(CALL) },
          'rpc',
        )
        leave()
      }
      return { ...response, body: finallyDo(response.body, done) }
    }
    router.handlers[index] = Object.assign(observed, handler)
  })

  return { idle: async () => (underWay === 0 ? undefined : whenIdle.promise) }
}

/** Connect reports bytes that are no message as INTERNAL, and other broken requests without a reason. */
function refuseMalformed(
  { contextValues, signal }: UniversalServerRequest,
  { trailer }: UniversalServerResponse,
): void {
  const error = trailer && findTrailerError(trailer)
  const byCaller =
    error?.code === Code.InvalidArgument || (error?.code === Code.Internal && !/^serialize/.test(error.rawMessage))
  if (!trailer || !error || !byCaller || error.details.length > 0) return
  // Who leaves in the middle of a message has sent half of one.
  if (signal.aborted) return void setTrailerStatus(trailer, goneAway(signal.reason))
  // The JSON parser's own words quote the request.
  const isHarmless = /^(parse binary|protocol error|timeout) ?/.test(error.rawMessage)
  const description = isHarmless ? error.rawMessage : 'the request is no message of this type'
  const refused = new AppError('INVALID_FIELD', description, { violations: [{ field: '', description }] })
  if (contextValues) noteCall(contextValues, { reason: refused.reason })
  setTrailerStatus(trailer, toConnectError(refused))
}

function codeName({ trailer, status }: UniversalServerResponse): string {
  if (status !== 200) return `HTTP_${status}`
  const error = trailer && findTrailerError(trailer)
  // Connect spells one of gRPC's names its own way.
  return error ? codeToString(error.code).toUpperCase().replace('CANCELED', 'CANCELLED') : 'OK'
}

async function* finallyDo(body: UniversalServerResponse['body'], done: () => void) {
  try {
    if (body) yield* body
  } finally {
    done()
  }
}
