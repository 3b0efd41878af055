import type { Message } from '@bufbuild/protobuf'

/** A message to be sent, with each field named at every depth: a field that is forgotten does not compile. */
export type Filled<M> = M extends Message
  ? { [Field in Exclude<keyof M, keyof Message>]: Filled<M[Field]> }
  : M extends readonly (infer Element)[]
    ? Filled<Element>[]
    : M
