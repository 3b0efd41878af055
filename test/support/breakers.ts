import { expect, vi } from 'vitest'
import { BreakerState, type RecentCalls } from '../../gen/bank/signature/v1/routing_pb.ts'
import { type App, failure, startRequest } from './app.ts'
import { times } from './hops.ts'
import { route } from './routing.ts'

export type Replica = Awaited<ReturnType<App['replica']>>

/** How long a breaker stays open. */
export const OPEN_MS = 30_000
export const FAILS = { provider: 'twilio-sms', status: 503 } as const

/** What the requests below are served by. */
export const ROUTES = [
  route(10, { SMS: ['twilio-sms'] }, { customerSegment: 'TWILIO' }),
  route(20, { SMS: ['twilio-sms', 'vonage-sms'] }),
]

/** A replica with circuit breakers that calls a provider once for each delivery. */
export function withBreaker(app: App, env: Record<string, string> = {}): Promise<Replica> {
  return app.replica({ CIRCUIT_BREAKER: 'on', DELIVERY_RETRIES: '0', ...env })
}

/** A replica whose breaker of Twilio's text messages opens at this moment, and a sandbox that heard nothing yet. */
export async function open(app: App, env: Record<string, string> = {}): Promise<Replica> {
  passTime(0)
  const replica = await withBreaker(app, env)
  await failing(replica, 10)
  expect(await breakers(replica)).toMatchObject({ 'twilio-sms': BreakerState.OPEN })
  app.sandbox.clear()
  return replica
}

/** A request that only Twilio serves. */
export function request(fields: Parameters<typeof startRequest>[0] = {}): ReturnType<typeof startRequest> {
  return startRequest({ customerSegment: 'TWILIO', ...fields })
}

/** Starts so many signatures that fail. */
export async function failing(replica: Pick<Replica, 'client' | 'sandbox'>, calls: number): Promise<void> {
  replica.sandbox.failNext(...times(calls, FAILS))
  await inTurn(calls, () => failure(replica.client.startSignature(request())))
}

/** Starts so many signatures that go well. */
export async function working(replica: Pick<Replica, 'client'>, calls: number): Promise<void> {
  await inTurn(calls, () => replica.client.startSignature(request()))
}

/** Who sends a code when both may. */
export async function startedBy(replica: Pick<Replica, 'client'>): Promise<string | undefined> {
  return (await replica.client.startSignature(startRequest())).challenge?.provider
}

/** Does something so often, one after the other. */
export async function inTurn(count: number, what: () => Promise<unknown>): Promise<void> {
  for (let n = 0; n < count; n++) await what()
}

/** Turns the clock on for this process and stops it there; timers go on as they were, and so does the database. */
export function passTime(ms: number): void {
  vi.setSystemTime(Date.now() + ms)
}

/** How the breakers of a replica stand, by provider. */
export async function breakers({ routing }: Pick<Replica, 'routing'>): Promise<Record<string, BreakerState>> {
  const { providers } = await routing.listProviders({})
  return Object.fromEntries(providers.map(({ name, breakerState }) => [name, breakerState]))
}

/** What a replica has seen of the calls of Twilio's text messages. */
export async function recentCalls({ routing }: Pick<Replica, 'routing'>): Promise<RecentCalls | undefined> {
  const { providers } = await routing.listProviders({})
  return providers.find(({ name }) => name === 'twilio-sms')?.recentCalls
}

/** What the metrics say of the breaker of Twilio's text messages, by state. */
export async function shown(replica: Pick<Replica, 'metrics'>): Promise<Record<string, string>> {
  const lines = (await replica.metrics()).matchAll(
    /^circuit_breaker_state\{provider="twilio-sms",state="(\w+)"\} (\d)$/gm,
  )
  return Object.fromEntries([...lines].map(([, state, value]) => [state, value]))
}
