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

/** The fields of a call's log line besides method, code and duration. */
const CALL = createContextKey<Record<string, string>>({})

/** Adds `fields` to the log line of a call. They may hold ids and reasons, and nothing personal. */
export function noteCall(values: ContextValues, fields: Record<string, string>): void {
  values.set(CALL, { ...values.get(CALL), ...fields })
}

/** Returns why the database could not serve, if `error` is one of its own. */
export type StorageFailure = (error: unknown) => 'STORAGE_UNAVAILABLE' | 'OVERLOADED' | undefined

/** Turns each error of a use case into the one that is sent. Unknown errors become INTERNAL with a correlation id. */
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
      // The work stopped only because its caller has gone.
      if (error === signal.reason) giveUp()
      const translated = translate(error)
      // The failure has been logged. A caller that has gone gets the end of its own call.
      giveUp()
      throw translated
    }
    try {
      giveUp()
      const response = await next(request)
      giveUp()
      // A stream fails later, while its messages are read.
      return response.stream ? { ...response, message: failing(response.message, fail) } : response
    } catch (error) {
      return fail(error)
    }
  }
}

/** Refuses calls while the server stops, or while the queue for the database is full. Health checks are always served. */
export function refuseCalls({ isStorageBusy }: Pick<Context, 'isStorageBusy'>, isStopping: () => boolean): Interceptor {
  return (next) => async (request) => {
    if (request.service.typeName.startsWith('grpc.')) return next(request)
    if (isStopping()) throw shuttingDown()
    if (isStorageBusy()) throw storageBusy()
    return next(request)
  }
}

/** Returns the error for calls that come while the server stops, or that are cut off at its end. */
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

/** Returns the error for an aborted call. A deadline and our own stop keep their codes; anything else is CANCELLED. */
function goneAway(reason: unknown): ConnectError {
  const error = ConnectError.from(reason)
  const told = error.code === Code.DeadlineExceeded || error.code === Code.Unavailable
  return told ? error : new ConnectError('the caller has gone', Code.Canceled)
}

/** The calls under way. The drain waits for them. */
export interface CallsUnderWay {
  /** Resolves as soon as no unary call is under way. */
  idle(): Promise<void>
}

/**
 * Logs and measures every RPC once, including those that Connect refuses before they reach a handler. Call it after all
 * services have been added to `router`.
 */
export function observeCalls(router: ConnectRouter, { log, metrics }: Pick<Context, 'log' | 'metrics'>): CallsUnderWay {
  let underWay = 0
  let whenIdle = Promise.withResolvers<void>()

  router.handlers.forEach((handler, index) => {
    const { service, method } = handler
    const unary = method.methodKind === 'unary'
    const name = `${service.typeName}/${method.name}`
    // Health checks and reflection are frequent and say little.
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
        // The duration of a stream is its reader's choice, and no measure of our speed.
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

/** Gives malformed requests INVALID_FIELD. Connect reports them as INTERNAL, or without an ErrorInfo. */
function refuseMalformed(
  { contextValues, signal }: UniversalServerRequest,
  { trailer }: UniversalServerResponse,
): void {
  const error = trailer && findTrailerError(trailer)
  const byCaller =
    error?.code === Code.InvalidArgument || (error?.code === Code.Internal && !/^serialize/.test(error.rawMessage))
  if (!trailer || !error || !byCaller || error.details.length > 0) return
  // The caller left in the middle of a message, which looks malformed.
  if (signal.aborted) return void setTrailerStatus(trailer, goneAway(signal.reason))
  // The JSON parser quotes the request in its messages.
  const isHarmless = /^(parse binary|protocol error|timeout) ?/.test(error.rawMessage)
  const description = isHarmless ? error.rawMessage : 'the request is not a message of this type'
  const refused = new AppError('INVALID_FIELD', description, { violations: [{ field: '', description }] })
  if (contextValues) noteCall(contextValues, { reason: refused.reason })
  setTrailerStatus(trailer, toConnectError(refused))
}

function codeName({ trailer, status }: UniversalServerResponse): string {
  if (status !== 200) return `HTTP_${status}`
  const error = trailer && findTrailerError(trailer)
  // Connect spells it with one L.
  return error ? codeToString(error.code).toUpperCase().replace('CANCELED', 'CANCELLED') : 'OK'
}

async function* finallyDo(body: UniversalServerResponse['body'], done: () => void) {
  try {
    if (body) yield* body
  } finally {
    done()
  }
}
