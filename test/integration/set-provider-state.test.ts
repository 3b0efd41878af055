import { timestampDate, timestampFromDate } from '@bufbuild/protobuf/wkt'
import { Code } from '@connectrpc/connect'
import { sql } from 'kysely'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { ProviderState, type SetProviderStateRequestSchema } from '../../gen/bank/signature/v1/routing_pb.ts'
import { Channel, PassReason, TimelineEventType } from '../../gen/bank/signature/v1/signature_pb.ts'
import { type App, failure, type Init, row, startApp, startRequest } from '../support/app.ts'
import { enable, pause, publish, route } from '../support/routing.ts'

let app: App
beforeEach(async () => {
  app = await startApp()
  await publish(app, [route(1, { SMS: ['vonage-sms', 'twilio-sms'] })])
})
afterEach(() => app[Symbol.asyncDispose]())

const OPS = { author: 'ops@bank.example', reason: 'an outage' }
const PAUSED = { provider: 'vonage-sms', channel: 'SMS', reason: 'PAUSED' }

test('a paused provider is passed over at once, which the challenge and the timeline tell', async () => {
  await pause(app, 'vonage-sms')
  const { signature, challenge } = await app.client.startSignature(startRequest())

  expect(challenge).toMatchObject({
    provider: 'twilio-sms',
    passedOver: [{ ...PAUSED, channel: Channel.SMS, reason: PassReason.PAUSED }],
  })
  expect(await row(app, 'challenge', challenge?.id ?? '')).toMatchObject({
    provider: 'twilio-sms',
    status: 'SENT',
    passed_over: [PAUSED],
  })
  const { signature: read } = await app.client.getSignature({ signatureId: signature?.id ?? '' })
  expect(read?.timeline.filter(({ type }) => type === TimelineEventType.PROVIDER_PASSED_OVER)).toMatchObject([
    { details: PAUSED },
  ])
  expect(sentBy()).toEqual(['twilio-sms'])
})

test('the answer is how it stands now, and all that was ever said is kept', async () => {
  const pauseUntil = timestampFromDate(new Date(Date.now() + 60_000))
  const request = { provider: 'vonage-sms', state: ProviderState.PAUSED, pauseUntil, ...OPS }
  const { killSwitch: paused } = await app.routing.setProviderState(request)
  expect(paused).toMatchObject({ state: ProviderState.PAUSED, pauseUntil, ...OPS })

  const over = { provider: 'vonage-sms', state: ProviderState.ENABLED, author: 'ana', reason: 'it is back' }
  const { killSwitch: enabled } = await app.routing.setProviderState(over)
  expect(enabled).toMatchObject({ state: ProviderState.ENABLED, author: 'ana', reason: 'it is back' })
  expect(enabled?.pauseUntil).toBeUndefined()

  const kept = await app.db.selectFrom('provider_switch').selectAll().orderBy('id').execute()
  expect(kept).toMatchObject([
    { provider: 'vonage-sms', paused_until: timestampDate(pauseUntil), ...OPS },
    { provider: 'vonage-sms', paused_until: null, author: 'ana', reason: 'it is back' },
  ])
  expect([paused, enabled].map((said) => said?.setTime && timestampDate(said.setTime))).toEqual(
    kept.map(({ set_at }) => set_at),
  )
})

test('another replica obeys before its next poll, as it is told of it, and so when the provider is enabled', async () => {
  const other = await app.replica()
  const tookMs: number[] = []
  for (let round = 0; round < 7; round++) {
    const wanted = round % 2 ? 'vonage-sms' : 'twilio-sms'
    await (round % 2 ? enable : pause)(app, 'vonage-sms')
    const answeredAt = performance.now()
    for (let used = ''; used !== wanted; ) {
      const { challenge } = await other.client.startSignature(startRequest())
      used = challenge?.provider ?? ''
    }
    tookMs.push(performance.now() - answeredAt)
  }
  // Each round begins as the one before is obeyed, so without notices it would last until the next poll, for 500 ms.
  expect(Math.min(...tookMs.slice(1))).toBeLessThan(250)
})

test('a pause that is over counts as enabled, without anybody saying so', async () => {
  const other = await app.replica()
  const endsAt = Date.now() + 1_500
  await pause(app, 'vonage-sms', 1_500)
  await vi.waitFor(async () => {
    const { challenge } = await other.client.startSignature(startRequest())
    expect(challenge).toMatchObject({ provider: 'twilio-sms' })
  })

  await vi.waitFor(
    async () => {
      const { challenge } = await other.client.startSignature(startRequest())
      expect(challenge).toMatchObject({ provider: 'vonage-sms', passedOver: [] })
    },
    { timeout: 5_000 },
  )

  expect(Date.now()).toBeGreaterThanOrEqual(endsAt)
  const { providers } = await other.routing.listProviders({})
  const { killSwitch } = providers.find(({ name }) => name === 'vonage-sms') ?? {}
  expect(killSwitch).toMatchObject({ state: ProviderState.ENABLED, author: 'ops' })
  expect(await other.metrics()).toContain('provider_paused{provider="vonage-sms"} 0')
})

test('with every provider paused a start is refused at once, and the same key works when one is back', async () => {
  await pause(app, 'vonage-sms', 45_000)
  await pause(app, 'twilio-sms', 600_000)
  const request = startRequest()

  const refused = await failure(app.client.startSignature(request))

  expect(refused).toMatchObject({
    code: Code.Unavailable,
    reason: 'PROVIDER_UNAVAILABLE',
    metadata: { provider: 'twilio-sms', provider_error_code: 'PAUSED' },
  })
  expect(refused.metadata.signature_id).toBeUndefined()
  // Until the first of them is back.
  expect(refused.retryDelayMs).toBeGreaterThan(40_000)
  expect(refused.retryDelayMs).toBeLessThanOrEqual(45_000)
  for (const table of ['signature', 'challenge', 'idempotency_key', 'timeline'] as const) {
    expect(await app.db.selectFrom(table).selectAll().execute()).toEqual([])
  }
  expect(sentBy()).toEqual([])

  await enable(app, 'twilio-sms')
  const { challenge } = await app.client.startSignature(request)
  expect(challenge).toMatchObject({ provider: 'twilio-sms', passedOver: [{ reason: PassReason.PAUSED }] })
  expect(sentBy()).toEqual(['twilio-sms'])
})

test('what a caller is told to wait is for a provider that could then be used', async () => {
  await publish(app, [route(1, { PUSH: ['fcm-push'], SMS: ['vonage-sms'] })])
  await pause(app, 'fcm-push', 5_000)
  await pause(app, 'vonage-sms', 45_000)
  const withoutToken = await failure(app.client.startSignature(startRequest()))
  expect(withoutToken.retryDelayMs).toBeGreaterThan(40_000)
  const withToken = await failure(app.client.startSignature(startRequest({ pushToken: 'token-1' })))
  expect(withToken.retryDelayMs).toBeLessThanOrEqual(5_000)
})

test('a delivery under way calls a provider no more once it is paused, and goes on to the next', async () => {
  const other = await app.replica({ DELIVERY_BACKOFF_MS: '1000' })
  app.sandbox.failNext({ provider: 'vonage-sms', status: 500 })
  const called = app.sandbox.nextCall()
  const starting = other.client.startSignature(startRequest())
  expect(await called).toMatchObject({ provider: 'vonage-sms' })

  await pause(app, 'vonage-sms')

  const { signature, challenge } = await starting
  expect(challenge).toMatchObject({ provider: 'twilio-sms', passedOver: [{ reason: PassReason.PROVIDER_UNAVAILABLE }] })
  expect(app.sandbox.calls.map(({ provider }) => provider).filter(isSms)).toEqual(['vonage-sms', 'twilio-sms'])
  const [first = ''] = signature?.challengeIds ?? []
  expect(await row(app, 'challenge', first)).toMatchObject({ provider: 'vonage-sms', status: 'FAILED' })
  const attempts = app.db.selectFrom('attempt').where('challenge_id', '=', first).select(['number', 'outcome'])
  expect(await attempts.execute()).toEqual([{ number: 1, outcome: 'transient' }])
})

test('metrics tell on every replica what is paused, and which version rules', async () => {
  const other = await app.replica()
  const version = await publish(app, [route(2, { SMS: ['vonage-sms', 'twilio-sms'] })])
  await pause(app, 'vonage-sms')
  await vi.waitFor(async () => {
    for (const page of [await app.metrics(), await other.metrics()]) {
      expect(page).toContain(`\nrouting_table_version ${version}\n`)
      expect(page).toContain('provider_paused{provider="vonage-sms"} 1')
      expect(page).toContain('provider_paused{provider="twilio-sms"} 0')
    }
  })
})

const RIGHT = { provider: 'vonage-sms', state: ProviderState.PAUSED, ...OPS }
const LATER = { seconds: 32_503_680_000n, nanos: 0 }

test.each<[string, string[], Init<typeof SetProviderStateRequestSchema>]>([
  ['nothing at all', ['state', 'provider', 'author', 'reason'], {}],
  ['an unknown provider', ['provider'], { ...RIGHT, provider: 'acme-sms', pauseUntil: LATER }],
  ['no author', ['author'], { ...RIGHT, author: '', pauseUntil: LATER }],
  ['a blank reason', ['reason'], { ...RIGHT, reason: '  ', pauseUntil: LATER }],
  ['a pause without an end', ['pause_until'], RIGHT],
  ['a pause in the past', ['pause_until'], { ...RIGHT, pauseUntil: { seconds: 1n, nanos: 0 } }],
  ['an end with ENABLED', ['pause_until'], { ...RIGHT, state: ProviderState.ENABLED, pauseUntil: LATER }],
  ['an unknown state', ['state'], { ...RIGHT, state: 9 as ProviderState }],
  [
    'a pause until a time with a second too many nanoseconds',
    ['pause_until'],
    { ...RIGHT, pauseUntil: { ...LATER, nanos: 1e9 } },
  ],
  ['a pause beyond all time', ['pause_until'], { ...RIGHT, pauseUntil: { seconds: 253_402_300_800n, nanos: 0 } }],
  [
    'everything wrong',
    ['state', 'pause_until', 'provider', 'author', 'reason'],
    { pauseUntil: LATER, author: 'x'.repeat(129), reason: 'x'.repeat(501) },
  ],
])('%s is refused, with all its fields, and nothing is stored', async (_, fields, request) => {
  const refused = await failure(app.routing.setProviderState(request))
  expect(refused).toMatchObject({ code: Code.InvalidArgument, reason: 'INVALID_FIELD', fields })
  expect(await app.db.selectFrom('provider_switch').selectAll().execute()).toEqual([])
})

test('a pause may last until the end of the year 9999, and one that was stored as longer is told as that', async () => {
  const pauseUntil = { seconds: 253_402_300_799n, nanos: 999_999_999 }
  const told = { ...pauseUntil, nanos: 999_000_000 }
  const { killSwitch } = await app.routing.setProviderState({ ...RIGHT, pauseUntil })
  expect(killSwitch).toMatchObject({ state: ProviderState.PAUSED, pauseUntil: told })
  const { challenge } = await app.client.startSignature(startRequest())
  expect(challenge).toMatchObject({ provider: 'twilio-sms' })

  await sql`UPDATE provider_switch SET paused_until = '10000-01-01T00:00:00Z'`.execute(app.db)
  const { providers } = await (await app.replica()).routing.listProviders({})
  const repaired = providers.find(({ name }) => name === RIGHT.provider)?.killSwitch
  expect(repaired).toMatchObject({ state: ProviderState.PAUSED, pauseUntil: told })
})

function sentBy(): string[] {
  return app.sandbox.messages.map(({ provider }) => provider)
}

function isSms(provider: string): boolean {
  return provider.endsWith('-sms')
}
