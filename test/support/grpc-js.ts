import {
  create,
  type DescMessage,
  type DescMethodUnary,
  fromBinary,
  type MessageInitShape,
  type MessageShape,
  toBinary,
} from '@bufbuild/protobuf'
import { anyUnpack } from '@bufbuild/protobuf/wkt'
import { type CallOptions, type ChannelOptions, Client, credentials, Metadata, type ServiceError } from '@grpc/grpc-js'
import { BadRequestSchema, ErrorInfoSchema, RetryInfoSchema } from '../../gen/google/rpc/error_details_pb.ts'
import { StatusSchema } from '../../gen/google/rpc/status_pb.ts'
import type { Failure } from './app.ts'

/** A client over `@grpc/grpc-js`: what callers without Connect see. */
export interface GrpcJsClient extends Disposable {
  call<I extends DescMessage, O extends DescMessage>(
    method: DescMethodUnary<I, O>,
    request: MessageInitShape<I>,
    options?: CallOptions,
  ): Promise<MessageShape<O>>
  /** Makes a call whose message is these bytes, whether or not they are one. */
  send(path: string, message: Uint8Array): Promise<Uint8Array>
}

/** A client for the gRPC port at that URL. */
export function createGrpcJsClient(url: string, channel: ChannelOptions = {}): GrpcJsClient {
  const client = new Client(new URL(url).host, credentials.createInsecure(), channel)
  const send = (path: string, message: Uint8Array, options: CallOptions = {}) =>
    new Promise<Uint8Array>((resolve, reject) => {
      const answered = (error: ServiceError | null, answer: Uint8Array = new Uint8Array()) =>
        error ? reject(error) : resolve(answer)
      client.makeUnaryRequest(path, Buffer.from, (answer) => answer, message, new Metadata(), options, answered)
    })
  return {
    send,
    async call(method, request, options) {
      const message = toBinary(method.input, create(method.input, request))
      return fromBinary(method.output, await send(pathOf(method), message, options))
    },
    [Symbol.dispose]: () => client.close(),
  }
}

/** Where a method is called: `/package.Service/Method`. */
export function pathOf({ parent, name }: Pick<DescMethodUnary, 'parent' | 'name'>): string {
  return `/${parent.typeName}/${name}`
}

/** The failure that a call over `@grpc/grpc-js` ended in. Throws when it succeeded. */
export async function grpcJsFailure(call: Promise<unknown>): Promise<Failure> {
  const error = await call.then(
    () => Promise.reject(new Error('expected a failure')),
    (reason: ServiceError) => reason,
  )
  const [status] = error.metadata.get('grpc-status-details-bin')
  return readFailure(error.code, error.details, status instanceof Uint8Array ? status : undefined)
}

/** A failure as it is on the wire: grpc-status, grpc-message, and the google.rpc.Status of grpc-status-details-bin. */
export function readFailure(code: number, message: string, details: Uint8Array | undefined): Failure {
  const status = details && fromBinary(StatusSchema, details)
  if (status && status.code !== code)
    throw new Error(`the status is ${code} in one place and ${status.code} in another`)
  const detail = <Schema extends DescMessage>(schema: Schema) =>
    status?.details.map((packed) => anyUnpack(packed, schema)).find((unpacked) => unpacked !== undefined)
  const info = detail(ErrorInfoSchema)
  const retryDelay = detail(RetryInfoSchema)?.retryDelay
  return {
    code,
    // grpc-js leaves ":" and the like in grpc-message percent-encoded.
    message: status?.message ?? message,
    reason: info?.reason,
    metadata: info?.metadata ?? {},
    fields: detail(BadRequestSchema)?.fieldViolations.map(({ field }) => field) ?? [],
    retryDelayMs: retryDelay && Number(retryDelay.seconds) * 1_000 + retryDelay.nanos / 1e6,
  }
}
