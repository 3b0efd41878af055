import { create, type DescMessage } from '@bufbuild/protobuf'
import { createContextValues } from '@connectrpc/connect'
import { describe, expect, test } from 'vitest'
import { RoutingService } from '../../gen/bank/signature/v1/routing_pb.ts'
import { SignatureService } from '../../gen/bank/signature/v1/signature_pb.ts'
import type { Context } from '../../src/context.ts'
import { routingService } from '../../src/rpc/routing-service.ts'
import { signatureService } from '../../src/rpc/signature-service.ts'

/** Nothing else of the context is there: a request that is all defaults goes no further than to be parsed. */
const ctx = { providers: new Map() } as unknown as Context
const call = { signal: AbortSignal.abort(), timeoutMs: () => undefined, values: createContextValues() }

/** A method of a service as a request reaches it. */
type Handler = (request: object, context: typeof call) => Promise<unknown> | AsyncIterable<unknown>

describe.each([
  [SignatureService, signatureService(ctx)],
  [RoutingService, routingService(ctx)],
] as const)('%s', (service, handlers) => {
  test.each(service.methods.map((method) => [method.name, method] as const))(
    '%s reads every field of its request',
    async (_, { localName, input }) => {
      const seen = new Set<string>()
      const handler = (handlers as unknown as Record<string, Handler>)[localName]
      const request = watched(input, seen)
      await drain(handler?.(request, call)).catch(() => {})
      expect(seen).toEqual(new Set(fieldsOf(input)))
    },
  )
})

/** Every field of a message, also of the messages in it. */
function fieldsOf(type: DescMessage): string[] {
  return type.fields.flatMap((field) => [
    `${type.typeName}.${field.name}`,
    ...('message' in field && field.message ? fieldsOf(field.message) : []),
  ])
}

/** A message with one of each message in it, which adds each field that is read to `seen`. Copying it reads none. */
function watched(type: DescMessage, seen: Set<string>): object {
  const parts = new Map(
    type.fields.flatMap((field) => {
      if (!('message' in field) || !field.message) return []
      const part = watched(field.message, seen)
      return [[field.localName, field.fieldKind === 'list' ? [part] : part] as const]
    }),
  )
  return new Proxy(create(type), {
    get(message, key) {
      const field = type.fields.find(({ localName }) => localName === key)
      if (field) seen.add(`${type.typeName}.${field.name}`)
      return parts.get(String(key)) ?? Reflect.get(message, key)
    },
    ownKeys: () => [],
  })
}

async function drain(answer: Promise<unknown> | AsyncIterable<unknown> | undefined): Promise<void> {
  if (answer && Symbol.asyncIterator in answer) await Array.fromAsync(answer)
  else await answer
}
