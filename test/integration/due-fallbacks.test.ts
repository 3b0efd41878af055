import { sql } from 'kysely'
import { afterAll, beforeAll, beforeEach, expect, test, vi } from 'vitest'
import { startWire, type Trap, type Wire } from '../../chaos/wire.ts'
import { SignatureStatus } from '../../gen/bank/signature/v1/signature_pb.ts'
import { type App, start, startApp, transaction } from '../support/app.ts'
import {
  called,
  challengesOf,
  codesTold,
  expectOnlyTheLastCodeSigns,
  history,
  setPaused,
  times,
} from '../support/hops.ts'
import { publish, route } from '../support/routing.ts'
import { killLeftovers, serve } from '../support/service-process.ts'
import { post, twilioReceipt, vonageReceipt } from '../support/webhooks.ts'

let app: App
/** On the way of others to the database. */
let wire: Wire
let behindWire: string
beforeAll(async () => {
  app = await startApp({ DELIVERY_RETRIES: '0' })
  await publish(app, [route(10, { SMS: ['twilio-sms', 'vonage-sms'] }, {}, { fallbackOnUndelivered: true })])
  // The more look, the sooner one takes what is due.
  for (const _ of times(2, null)) await app.replica()
  const url = new URL(app.env.DATABASE_URL ?? '')
  wire = await startWire(Number(url.port), (said) => said.includes('begin\0'))
  behindWire = Object.assign(url, { port: String(wire.port) }).href
})
beforeEach(() => app.sandbox.clear())
afterAll(async () => {
  killLeftovers()
  await app[Symbol.asyncDispose]()
  await wire[Symbol.asyncDispose]()
})

async function startSent() {
  const { signature, challengeId, signatureId, code } = await start(app)
  const sid = app.sandbox.messages[0]?.sid ?? ''
  const receipt = (on: Pick<App, 'server'>, status = 'undelivered') =>
    twilioReceipt(on, { challengeId, sid, status, errorCode: '30003' })
  return { signature, signatureId, challengeId, code, receipt }
}

/** As when the process that has the fallback, or the lease of the delivery, has been silent for long enough. */
async function passTime(signatureId: string): Promise<void> {
  await sql`
    UPDATE challenge SET fallback_due_at = now(), lease_expires_at = least(lease_expires_at, now())
    WHERE signature_id = ${signatureId} AND status IN ('PENDING', 'SENT') AND fallback_due_at IS NOT NULL
  `.execute(app.db)
}

async function latest(signatureId: string) {
  return (await challengesOf(app, signatureId)).at(-1)
}

/** Once somebody alive has made the fallback, as the only one. */
async function expectFallback(signatureId: string, hops = ['twilio-sms', 'vonage-sms']): Promise<void> {
  await vi.waitFor(async () => {
    expect(await latest(signatureId)).toMatchObject({ provider: 'vonage-sms', status: 'SENT', fallback_due_at: null })
  }, 10_000)
  expect(called(app)).toEqual(hops)
}

const commits =
  (text: string): Trap['sees'] =>
  (said, since) =>
    said.includes('commit\0') && since.includes(text)

test.each([
  ['between the receipt and the next challenge', commits('insert into "receipt"'), 'answer', 'UNDELIVERED'],
  ['when the next challenge is made and nobody called', commits('CHALLENGE_CANCELLED'), 'answer', 'NOT_SENT'],
  ['before the call is written', (said) => said.includes('insert into "attempt"'), 'request', 'NOT_SENT'],
] as const satisfies [string, Trap['sees'], Trap['holds'], string][])(
  'a process that is killed %s leaves the fallback to another one',
  async (_, sees, holds, reason) => {
    const { signatureId, receipt } = await startSent()
    await using dying = await serve({ ...app.env, DATABASE_URL: behindWire })
    wire.traps.add({ sees, holds, fire: () => void dying.child.kill('SIGKILL') })

    const server = { httpPort: dying.listening.http_port } as App['server']
    await post({ server }, receipt({ server })).catch(() => {})
    await dying.ended

    expect(called(app)).toEqual(['twilio-sms'])
    await passTime(signatureId)
    await expectFallback(signatureId)
    // The vendor did not get its answer, and comes again.
    expect(await post(app, receipt(app))).toBe(200)
    expect(await challengesOf(app, signatureId)).toHaveLength(reason === 'NOT_SENT' ? 3 : 2)
    const cancelled = (await history(app, signatureId)).filter((event) => event.startsWith('CHALLENGE_CANCELLED'))
    expect(cancelled.at(-1)).toContain(reason)
    expect((await complete(signatureId)).signature?.status).toBe(SignatureStatus.SIGNED)
  },
)

test('a process that is killed when it may have called the next provider leaves nothing to send again', async () => {
  const { signatureId, receipt } = await startSent()
  await using dying = await serve({ ...app.env, DATABASE_URL: behindWire })
  const sees = (said: string) => said.includes('insert into "attempt"')
  wire.traps.add({ sees, holds: 'answer', fire: () => void dying.child.kill('SIGKILL') })
  const server = { httpPort: dying.listening.http_port } as App['server']
  await post({ server }, receipt({ server })).catch(() => {})
  await dying.ended

  await passTime(signatureId)

  await vi.waitFor(async () => {
    expect(await latest(signatureId)).toMatchObject({ delivery_status: 'UNKNOWN', fallback_due_at: null })
  }, 10_000)
  expect((await challengesOf(app, signatureId)).map(({ status }) => status)).toEqual(['CANCELLED', 'PENDING'])
  expect(called(app)).toEqual(['twilio-sms'])
})

test('a receipt whose COMMIT had no answer is followed by a fallback all the same', async () => {
  await using replica = await app.replica({ DATABASE_URL: behindWire })
  const { signatureId, receipt } = await startSent()
  wire.traps.add({ sees: commits('insert into "receipt"'), holds: 'answer', fire: (reset) => reset() })
  expect(await post(replica, receipt(replica))).toBe(200)
  await passTime(signatureId)
  await expectFallback(signatureId)
  await expectOnlyTheLastCodeSigns(app, signatureId)
})

test('a receipt that comes while its process stops is followed by a fallback of another one', async () => {
  const replica = await app.replica()
  const { signatureId, receipt } = await startSent()
  const { stopped } = await app.db.transaction().execute(async (trx) => {
    const { rows } = await sql<{ pid: number }>`
      SELECT pg_backend_pid() AS pid FROM signature WHERE id = ${signatureId} FOR UPDATE
    `.execute(trx)
    const posted = post(replica, receipt(replica)).catch(() => {})
    await vi.waitFor(async () => {
      const waiting = await sql`
        SELECT FROM pg_stat_activity WHERE ${rows[0]?.pid} = ANY (pg_blocking_pids(pid))
      `.execute(app.db)
      expect(waiting.rows).toHaveLength(1)
    }, 10_000)
    const stopping = replica[Symbol.asyncDispose]()
    await posted
    return { stopped: stopping }
  })
  await stopped
  expect(await challengesOf(app, signatureId)).toMatchObject([
    { status: 'SENT', delivery_status: 'UNDELIVERED', fallback_due_at: expect.any(Date) },
  ])
  await passTime(signatureId)
  await expectFallback(signatureId)
})

test('a fallback that is cut off before anything was sent is made again by another process', async () => {
  const replica = await app.replica({ DELIVERY_RETRIES: '1', DELIVERY_BACKOFF_MS: '5000' })
  const { signatureId, receipt } = await startSent()
  app.sandbox.failNext({ provider: 'vonage-sms', status: 503 })
  const next = app.sandbox.nextCall()
  await post(replica, receipt(replica))
  await next
  await replica[Symbol.asyncDispose]()

  expect((await challengesOf(app, signatureId)).slice(1)).toMatchObject([
    { status: 'PENDING', delivery_status: null, attempts: ['transient 1030'], fallback_due_at: expect.any(Date) },
  ])
  await passTime(signatureId)
  await expectFallback(signatureId, ['twilio-sms', 'vonage-sms', 'vonage-sms'])
  expect(await history(app, signatureId)).toContain('CHALLENGE_CANCELLED #2 NOT_SENT')
  expect(codesTold(app, 'vonage-sms')).toHaveLength(2)
  expect((await complete(signatureId)).signature?.status).toBe(SignatureStatus.SIGNED)
})

test('while the next provider is paused the code before stays good, and makes way when it is back', async () => {
  await setPaused(app, 'vonage-sms', true)
  const both = [await startSent(), await startSent()] as const
  for (const { receipt } of both) expect(await post(app, receipt(app))).toBe(200)
  for (const { signatureId } of both) await passTime(signatureId)
  for (const { signatureId } of both) {
    // It was looked at, and is looked at again.
    await vi.waitFor(async () => {
      const [challenge, ...others] = await challengesOf(app, signatureId)
      expect(others).toEqual([])
      expect(challenge).toMatchObject({ status: 'SENT', delivery_status: 'UNDELIVERED' })
      expect(challenge?.fallback_due_at?.getTime()).toBeGreaterThan(Date.now())
    }, 10_000)
  }
  const [signed, waiting] = both
  expect((await complete(signed.signatureId, signed.code)).signature?.status).toBe(SignatureStatus.SIGNED)

  await setPaused(app, 'vonage-sms', false)
  await vi.waitFor(async () => {
    await passTime(waiting.signatureId)
    expect(await challengesOf(app, waiting.signatureId)).toHaveLength(2)
  }, 10_000)

  await expectFallback(waiting.signatureId, ['twilio-sms', 'twilio-sms', 'vonage-sms'])
  expect(await challengesOf(app, signed.signatureId)).toHaveLength(1)
})

test('a message that arrives after all calls the fallback off', async () => {
  await setPaused(app, 'vonage-sms', true)
  const { signatureId, code, receipt } = await startSent()
  await post(app, receipt(app))
  expect(await latest(signatureId)).toMatchObject({ fallback_due_at: expect.any(Date) })
  await post(app, receipt(app, 'delivered'))
  await setPaused(app, 'vonage-sms', false)
  expect(await challengesOf(app, signatureId)).toMatchObject([
    { status: 'SENT', delivery_status: 'DELIVERED', fallback_due_at: null },
  ])
  expect((await complete(signatureId, code)).signature?.status).toBe(SignatureStatus.SIGNED)
})

test('a fallback without a provider left is no longer looked for', async () => {
  const { signatureId, receipt } = await startSent()
  await post(app, receipt(app))
  await expectFallback(signatureId)
  const { id: challengeId = '', provider_challenge_id: sid = '' } = (await latest(signatureId)) ?? {}
  await post(app, await vonageReceipt({ challengeId, sid: sid ?? '', status: 'undeliverable' }))
  await vi.waitFor(async () => {
    expect(await latest(signatureId)).toMatchObject({ delivery_status: 'UNDELIVERED', fallback_due_at: null })
  }, 5_000)
  expect((await complete(signatureId)).signature?.status).toBe(SignatureStatus.SIGNED)
})

test('each of many due fallbacks is made once, though three processes look', async () => {
  const started = await Promise.all(times(12, null).map(startSent))
  const ids = started.map(({ signatureId }) => signatureId)
  await sql`
    UPDATE challenge SET delivery_status = 'UNDELIVERED', fallback_due_at = now() WHERE signature_id IN (${sql.join(ids)})
  `.execute(app.db)
  for (const id of ids) {
    await vi.waitFor(
      async () => expect(await latest(id)).toMatchObject({ provider: 'vonage-sms', status: 'SENT' }),
      10_000,
    )
    expect(await challengesOf(app, id)).toHaveLength(2)
  }
  expect(called(app).toSorted()).toEqual([...times(12, 'twilio-sms'), ...times(12, 'vonage-sms')])
})

/** Signs with the code that was told last. */
function complete(signatureId: string, code = codesTold(app).at(-1) ?? '') {
  return app.client.completeSignature({ signatureId, code, transaction: transaction() })
}
