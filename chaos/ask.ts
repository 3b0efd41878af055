import { setTimeout as sleep } from 'node:timers/promises'
import { type CallOptions, type Client, Code, ConnectError } from '@connectrpc/connect'
import type { SignatureService } from '../gen/bank/signature/v1/signature_pb.ts'
import { ErrorInfoSchema } from '../gen/google/rpc/error_details_pb.ts'
import type { Customer } from './customers.ts'
import { count, violate, type World } from './world.ts'

/** What a call came to in the end, and after how many calls. */
export type Answer<T> = { asked: number } & (
  | { ok: T }
  | { refused: string; message: string; metadata: Record<string, string> }
)

type Call<T> = (client: Client<typeof SignatureService>, options: CallOptions) => Promise<T>

/** Nothing was done, or the first call still goes on. */
const AGAIN = new Set([
  'IDEMPOTENCY_IN_PROGRESS',
  'STORAGE_UNAVAILABLE',
  'OVERLOADED',
  'SHUTTING_DOWN',
  'DEADLINE_TOO_SHORT',
])
const LONG_MS = 7_000
const PATIENCE_MS = 90_000

/**
 * Makes a call, and again at the other replica while its outcome is unknown to the caller, until it is known. The first
 * goes to the customer's own replica, or with `other` 1 to the other one.
 */
export async function ask<T>(
  world: World,
  customer: Customer,
  rpc: string,
  other: number,
  call: Call<T>,
): Promise<Answer<T>> {
  const startedAt = performance.now()
  const tell = (outcome: string) => count(world.told, `${rpc} ${outcome}`)
  for (let asked = 1; ; asked++) {
    const replica = world.replicas[(customer.home + other + asked - 1) % 2 === 0 ? 0 : 1]
    try {
      const ok = await call(replica.client, { timeoutMs: asked === 1 ? customer.patienceMs : LONG_MS })
      tell('OK')
      return { ok, asked }
    } catch (thrown) {
      const error = ConnectError.from(thrown)
      const info = error.findDetails(ErrorInfoSchema)[0]
      const reason = info?.reason ?? Code[error.code]
      tell(reason)
      if (reason === 'INTERNAL') {
        violate(world, 'no INTERNAL', `${customer.key}: ${rpc} at ${replica.name}, ${info?.metadata.correlation_id}`)
      }
      const isDefinite = info !== undefined && !AGAIN.has(reason) && reason !== 'INTERNAL'
      if (isDefinite) return { refused: reason, message: error.rawMessage, metadata: info.metadata, asked }
      if (performance.now() - startedAt > PATIENCE_MS) {
        violate(world, 'a definite answer within 90 s', `${customer.key}: ${rpc} still ${reason}`)
        throw error
      }
    }
    customer.repeats++
    await sleep(Math.min(50 * asked, 400))
  }
}
