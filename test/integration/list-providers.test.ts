import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { durationMs, timestampDate } from '@bufbuild/protobuf/wkt'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { BreakerState, ProviderState } from '../../gen/bank/signature/v1/routing_pb.ts'
import { Channel } from '../../gen/bank/signature/v1/signature_pb.ts'
import { type App, failure, start, startApp, startRequest } from '../support/app.ts'
import { enable, pause, publish, route } from '../support/routing.ts'

let app: App
beforeEach(async () => {
  app = await startApp()
})
afterEach(() => app[Symbol.asyncDispose]())

const NAMES = ['fcm-push', 'twilio-sms', 'twilio-voice', 'vonage-sms']
const OPTED_OUT = '+15005550004'

test('every provider is listed by name with its channel, untouched by operators and without calls', async () => {
  const { providers } = await app.routing.listProviders({})
  const channels = [Channel.PUSH, Channel.SMS, Channel.VOICE, Channel.SMS]
  expect(providers).toMatchObject(
    NAMES.map((name, index) => ({
      name,
      channel: channels[index],
      available: true,
      breakerState: BreakerState.UNSPECIFIED,
      recentCalls: { window: { seconds: 300n }, calls: 0, errorRate: 0 },
    })),
  )
  expect(providers.map(({ killSwitch }) => killSwitch)).toEqual([undefined, undefined, undefined, undefined])
  expect(app.sandbox.messages).toEqual([])
})

test('without a number for calls there are no calls, and the text messages go on', async () => {
  const service = { TWILIO_FROM_NUMBER: `MG${'0a'.repeat(16)}` }
  const other = await app.replica(service)
  expect(Object.keys(await listed(other))).toEqual(NAMES.filter((name) => name !== 'twilio-voice'))
  await start(other)
  expect(app.sandbox.messages[0]).toMatchObject({ provider: 'twilio-sms', from: service.TWILIO_FROM_NUMBER })
})

test('only the providers that there are credentials for are listed', async () => {
  const other = await app.replica({ VONAGE_API_KEY: '', VONAGE_API_SECRET: '', VONAGE_FROM: '' })
  expect(Object.keys(await listed(other))).toEqual(NAMES.slice(0, 3))
})

test.each([
  ['TWILIO_AUTH_TOKEN', ['twilio-sms', 'twilio-voice']],
  ['VONAGE_API_SECRET', ['vonage-sms']],
])('with a wrong %s its providers are not available, and the others are', async (setting, wrong) => {
  const other = await app.replica({ [setting]: '0'.repeat(32) })
  const unavailable = Object.values(await listed(other)).filter(({ available }) => !available)
  expect(unavailable.map(({ name }) => name)).toEqual(wrong)
})

test('with a service account that Google does not know push is not available, and the others are', async () => {
  const account = { ...JSON.parse(app.env.FCM_SERVICE_ACCOUNT ?? ''), client_email: 'stranger@bank.example' }
  const other = await app.replica({ FCM_SERVICE_ACCOUNT: JSON.stringify(account) })
  const unavailable = Object.values(await listed(other)).filter(({ available }) => !available)
  expect(unavailable.map(({ name }) => name)).toEqual(['fcm-push'])
})

test('a vendor that does not answer is not available, and is asked once for all callers, for two seconds at most', async () => {
  let asked = 0
  const silent = createServer(() => {
    asked += 1
  }).listen(0, '127.0.0.1')
  await once(silent, 'listening')
  const { port } = silent.address() as AddressInfo
  const other = await app.replica({ VONAGE_API_URL: `http://127.0.0.1:${port}` })
  const startedAt = performance.now()

  const [providers] = await Promise.all(Array.from({ length: 5 }, () => listed(other)))
  await listed(other)

  // Once at its start, and once for all of them.
  expect(asked).toBe(2)
  expect(performance.now() - startedAt).toBeLessThan(8_000)
  expect(providers?.['vonage-sms']).toMatchObject({ available: false })
  expect(providers?.['twilio-sms']).toMatchObject({ available: true })
  silent.closeAllConnections()
  silent.close()
})

test('what operators last said of a provider is told, also by a replica that starts later', async () => {
  const pauseUntil = { seconds: BigInt(Math.floor(Date.now() / 1_000) + 600), nanos: 0 }
  const who = { author: 'ana@bank.example', reason: 'an outage' }
  await app.routing.setProviderState({ provider: 'vonage-sms', state: ProviderState.PAUSED, pauseUntil, ...who })
  await pause(app, 'twilio-sms')
  await enable(app, 'twilio-sms')

  for (const replica of [app, await app.replica()]) {
    const providers = await listed(replica)
    const { killSwitch } = providers['vonage-sms'] ?? {}
    expect(killSwitch).toMatchObject({ state: ProviderState.PAUSED, pauseUntil, ...who })
    const { set_at } = await app.db
      .selectFrom('provider_switch')
      .where('provider', '=', 'vonage-sms')
      .select('set_at')
      .executeTakeFirstOrThrow()
    expect(killSwitch?.setTime && timestampDate(killSwitch.setTime)).toEqual(set_at)
    expect(providers['twilio-sms']?.killSwitch).toMatchObject({
      state: ProviderState.ENABLED,
      author: 'ops',
      reason: 'test over',
    })
    expect(providers['twilio-sms']?.killSwitch?.pauseUntil).toBeUndefined()
    expect(providers['twilio-voice']?.killSwitch).toBeUndefined()
  }
})

test('calls are counted on the replica that made them, retries too, and failed ones are its error rate', async () => {
  const other = await app.replica()
  app.sandbox.failNext({ status: 500 })
  for (let index = 0; index < 3; index++) await app.client.startSignature(startRequest())

  const { recentCalls } = (await listed(app))['twilio-sms'] ?? {}
  expect(recentCalls).toMatchObject({ calls: 4, errorRate: 0.25 })
  expect((await listed(app))['vonage-sms']).toMatchObject({ recentCalls: { calls: 0, errorRate: 0 } })
  expect((await listed(other))['twilio-sms']).toMatchObject({ recentCalls: { calls: 0 } })
})

test("what is the recipient's fault is a call, but no error", async () => {
  const refused = await failure(app.client.startSignature(startRequest({ phoneNumber: OPTED_OUT })))
  expect(refused).toMatchObject({ reason: 'DESTINATION_UNREACHABLE' })
  await app.client.startSignature(startRequest())

  expect((await listed(app))['twilio-sms']).toMatchObject({ recentCalls: { calls: 2, errorRate: 0 } })
})

test('latencies are those of the calls: one slow one in four is in the 95th percentile, not in the median', async () => {
  app.sandbox.failNext({ latencyMs: 400 })
  for (let index = 0; index < 4; index++) await app.client.startSignature(startRequest())

  const { medianLatency, p95Latency } = (await listed(app))['twilio-sms']?.recentCalls ?? {}
  expect(p95Latency && durationMs(p95Latency)).toBeGreaterThanOrEqual(400)
  expect(medianLatency && durationMs(medianLatency)).toBeLessThan(p95Latency ? durationMs(p95Latency) : 0)
  expect(medianLatency && durationMs(medianLatency)).toBeGreaterThan(0)
})

test('circuit breakers, where they are on, tell their state: closed, and open once every call has failed', async () => {
  const other = await app.replica({ CIRCUIT_BREAKER: 'on', DELIVERY_RETRIES: '0' })
  await publish(other, [route(1, { SMS: ['vonage-sms', 'twilio-sms'] })])
  expect((await listed(other))['vonage-sms']).toMatchObject({ breakerState: BreakerState.CLOSED })

  for (let index = 0; index < 10; index++) {
    app.sandbox.failNext({ provider: 'vonage-sms', status: 500 })
    await other.client.startSignature(startRequest())
  }

  const providers = await listed(other)
  expect(providers['vonage-sms']).toMatchObject({
    breakerState: BreakerState.OPEN,
    available: true,
    recentCalls: { calls: 10, errorRate: 1 },
  })
  expect(providers['twilio-sms']).toMatchObject({
    breakerState: BreakerState.CLOSED,
    recentCalls: { calls: 10, errorRate: 0 },
  })
})

async function listed({ routing }: Pick<App, 'routing'>) {
  const { providers } = await routing.listProviders({})
  return Object.fromEntries(providers.map((provider) => [provider.name, provider]))
}
