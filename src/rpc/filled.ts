import type { DescMethodServerStreaming, DescMethodUnary, DescService, Message, MessageShape } from '@bufbuild/protobuf'
import type { HandlerContext } from '@connectrpc/connect'

/** A message to be sent, with every field named at every depth: a field that is forgotten does not compile. */
export type Filled<M> = M extends Message
  ? { [Field in Exclude<keyof M, keyof Message>]: Filled<M[Field]> }
  : M extends readonly (infer Element)[]
    ? Filled<Element>[]
    : M

/** Connect's ServiceImpl, with every field of each answer. */
export type FilledService<Service extends DescService> = {
  [Name in keyof Service['method']]: Service['method'][Name] extends DescMethodUnary<infer Input, infer Output>
    ? (request: MessageShape<Input>, context: HandlerContext) => Promise<Filled<MessageShape<Output>>>
    : Service['method'][Name] extends DescMethodServerStreaming<infer Input, infer Output>
      ? (request: MessageShape<Input>, context: HandlerContext) => AsyncIterable<Filled<MessageShape<Output>>>
      : never
}
