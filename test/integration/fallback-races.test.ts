import { setTimeout as delay } from 'node:timers/promises'
import type { ConnectError } from '@connectrpc/connect'
import { sql } from 'kysely'
import { afterAll, beforeAll, beforeEach, expect, test, vi } from 'vitest'
import { PassReason } from '../../gen/bank/signature/v1/signature_pb.ts'
import { type App, failure, row, startApp, startRequest, transaction, wrongCode } from '../support/app.ts'
import { challengeOf } from '../support/delivery-outcome.ts'
import { type HeldVendor, startHeldVendor } from '../support/held-vendor.ts'
import { called, challengesOf, codesTold, history, setPaused, times } from '../support/hops.ts'
import { publish, route } from '../support/routing.ts'
import { seededRandom } from '../support/seeded-random.ts'

const ROUNDS = 40
const PATIENCE_MS = 10_000

/** Twilio answers when it is told to; Vonage, behind it, at once. */
let twilio: HeldVendor
let app: App
beforeAll(async () => {
  twilio = await startHeldVendor()
  app = await startApp({ TWILIO_API_URL: twilio.url, DELIVERY_RETRIES: '0' })
  await publish(app, [route(10, { SMS: ['twilio-sms', 'vonage-sms'] })])
})
beforeEach(() => app.sandbox.clear())
afterAll(async () => {
  await app[Symbol.asyncDispose]()
  await twilio[Symbol.asyncDispose]()
})

test('the first code signs or is replaced by the second, never both', { timeout: 120_000 }, async () => {
  const random = seededRandom(7)
  const signedBy = { first: 0, second: 0 }
  for (let round = 0; round < ROUNDS; round++) {
    app.sandbox.clear()
    const { start, call, signatureId } = await startHeld()
    const mayHaveBeenSent = round % 2 === 0

    const outcomes = await Promise.all([
      delay(random(12)).then(() => (mayHaveBeenSent ? call.reset() : call.answer(503))),
      ...times(2, null).map(() => delay(random(12)).then(() => complete(signatureId, call.code))),
    ])
    const { challenge } = await start

    const first = outcomes.filter((outcome) => outcome === 'SIGNED').length
    const newCode = codesTold(app)[0]
    const second = newCode ? await complete(signatureId, newCode) : 'none'
    expect(first + Number(second === 'SIGNED')).toBe(1)
    expect(second).not.toBe('SIGNATURE_ALREADY_SIGNED')
    signedBy[first ? 'first' : 'second'] += 1

    const challenges = await challengesOf(app, signatureId)
    expect(challenges.map(({ status }) => status)).toEqual(
      first ? ['COMPLETED'] : [mayHaveBeenSent ? 'CANCELLED' : 'FAILED', 'COMPLETED'],
    )
    expect(challenge?.id).toBe(challenges.at(-1)?.id)
    expect(challenges.every(({ tries_used, max_tries }) => tries_used <= max_tries)).toBe(true)
    expect(await row(app, 'signature', signatureId)).toMatchObject({ status: 'SIGNED' })
    const events = await history(app, signatureId)
    expect(events.filter((event) => event.startsWith('SIGNATURE_SIGNED'))).toEqual([
      `SIGNATURE_SIGNED #${challenges.length}`,
    ])
  }
  // Neither is always first, or there would be no race.
  expect(signedBy.first).toBeGreaterThan(0)
  expect(signedBy.second).toBeGreaterThan(0)
})

test('of wrong codes for both challenges no more are compared than one may have', { timeout: 120_000 }, async () => {
  const random = seededRandom(11)
  for (let round = 0; round < ROUNDS / 4; round++) {
    app.sandbox.clear()
    const { start, call, signatureId } = await startHeld()

    const wrong = wrongCode(call.code)
    await Promise.all([
      delay(random(12)).then(() => call.answer(503)),
      ...times(8, null).map(() => delay(random(24)).then(() => complete(signatureId, wrong))),
      start.catch(() => {}),
    ])
    // Those that came just when one challenge made way for the other were compared with neither.
    for (let outcome = ''; outcome !== 'TRIES_EXHAUSTED'; ) outcome = await complete(signatureId, wrong)

    const challenges = await challengesOf(app, signatureId)
    expect(challenges.at(-1)).toMatchObject({ status: 'FAILED', failure_reason: 'TRIES_EXHAUSTED', tries_used: 3 })
    expect(challenges.filter(({ status }) => status !== 'FAILED')).toEqual([])
    expect(await row(app, 'signature', signatureId)).toMatchObject({ status: 'FAILED' })
    const events = await history(app, signatureId)
    expect(events.filter((event) => event.startsWith('CODE_REJECTED'))).toHaveLength(3)
    for (const code of codesTold(app)) expect(await complete(signatureId, code)).toBe('TRIES_EXHAUSTED')
  }
})

test.each([
  ['a wrong code', wrongCode, 'CODE_REJECTED 0'],
  ['the right one', (code: string) => code, 'TRIES_EXHAUSTED'],
])(
  'the last try, %s, is followed by no other code when the provider fails before the verdict',
  async (_, submitted, told) => {
    const { start, call, signatureId } = await startHeld(2)
    const started = failure(start)

    expect(await lateVerdict(signatureId, call, submitted(call.code))).toBe(told)

    expect(await started).toMatchObject({ reason: 'TRIES_EXHAUSTED', metadata: { signature_id: signatureId } })
    expect(called(app)).toEqual([])
    expect(await challengesOf(app, signatureId)).toMatchObject([
      { status: 'FAILED', failure_reason: 'TRIES_EXHAUSTED', tries_used: 3, attempts: ['transient HTTP_503'] },
    ])
    expect(await row(app, 'signature', signatureId)).toMatchObject({ status: 'FAILED' })
    expect(await complete(signatureId, call.code)).toBe('TRIES_EXHAUSTED')
  },
)

test('a code that was replaced in the moment before it signed costs a try, and the new one signs', async () => {
  const { start, call, signatureId } = await startHeld(1)

  const verdict = await lateVerdict(signatureId, call, call.code)

  expect(verdict).toBe('CODE_REJECTED 1')
  expect((await start).challenge).toMatchObject({ provider: 'vonage-sms', triesRemaining: 1 })
  expect(await complete(signatureId, codesTold(app)[0] ?? '')).toBe('SIGNED')
  expect((await challengesOf(app, signatureId)).map(({ status }) => status)).toEqual(['FAILED', 'COMPLETED'])
})

test('a provider that is paused in the moment before its first call was not called, which is what is told', async () => {
  const callsBefore = twilio.calls
  const { start } = await app.db.transaction().execute(async (trx) => {
    await sql`LOCK TABLE challenge IN EXCLUSIVE MODE`.execute(trx)
    const started = app.client.startSignature(startRequest())
    await vi.waitFor(async () => {
      const { rows } = await sql`
        SELECT FROM pg_locks JOIN pg_stat_activity USING (pid)
        WHERE relation = 'challenge'::regclass AND NOT granted AND query LIKE 'insert into %'
      `.execute(app.db)
      expect(rows).toHaveLength(1)
    }, PATIENCE_MS)
    await setPaused(app, 'twilio-sms', true)
    return { start: started }
  })

  const { signature, challenge } = await start

  await setPaused(app, 'twilio-sms', false)
  expect(twilio.calls).toBe(callsBefore)
  expect(challenge).toMatchObject({
    provider: 'vonage-sms',
    passedOver: [{ provider: 'twilio-sms', reason: PassReason.PAUSED }],
  })
  expect(await history(app, signature?.id)).toEqual([
    'SIGNATURE_STARTED',
    'CHALLENGE_STARTED #1 twilio-sms',
    'CHALLENGE_FAILED #1 twilio-sms PROVIDER_UNAVAILABLE PAUSED after 0',
    'CHALLENGE_STARTED #2 vonage-sms',
    'CHALLENGE_SENT #2 vonage-sms after 1',
  ])
})

/** Starts a signature whose first call is not answered yet, and submits so many wrong codes for it. */
async function startHeld(wrongCodes = 0) {
  const request = startRequest()
  const start = app.client.startSignature(request)
  const call = await twilio.next()
  const { signature_id: signatureId } = await challengeOf(app, request.idempotencyKey)
  for (const _ of times(wrongCodes, null)) await complete(signatureId, wrongCode(call.code))
  return { start, call, signatureId }
}

/**
 * Submits a code, takes its try, and lets the next challenge be made before the code's verdict is written: whoever wants
 * to change the signature waits until both are in line.
 */
async function lateVerdict(signatureId: string, call: { answer(status: number): void }, code: string): Promise<string> {
  const pid = sql<{ pid: number }>`SELECT pg_backend_pid() AS pid FROM signature WHERE id = ${signatureId} FOR UPDATE`
  const { verdict } = await app.db.transaction().execute(async (trx) => {
    const [holder] = (await pid.execute(trx)).rows
    call.answer(503)
    const [hop] = await waitingFor(holder?.pid ?? 0)
    const submitted = complete(signatureId, code)
    await waitingFor(hop ?? 0)
    return { verdict: submitted }
  })
  return verdict
}

/** The backends that wait for this one, as soon as there is one. */
async function waitingFor(pid: number): Promise<number[]> {
  return vi.waitFor(async () => {
    const { rows } = await sql<{ pid: number }>`
      SELECT pid FROM pg_stat_activity WHERE ${pid} = ANY (pg_blocking_pids(pid))
    `.execute(app.db)
    expect(rows).toHaveLength(1)
    return rows.map((waiting) => waiting.pid)
  }, PATIENCE_MS)
}

/** Submits a code and gives what came of it: SIGNED, or the reason with the tries that remain. */
async function complete(signatureId: string, code: string): Promise<string> {
  const call = app.client.completeSignature({ signatureId, code, transaction: transaction() })
  return call.then(
    () => 'SIGNED',
    async (error: ConnectError) => {
      const { reason, metadata } = await failure(Promise.reject(error))
      return [reason, metadata.tries_remaining].filter(Boolean).join(' ')
    },
  )
}
