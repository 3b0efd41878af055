import { randomUUID } from 'node:crypto'
import { setTimeout as delay } from 'node:timers/promises'
import type { ConnectError } from '@connectrpc/connect'
import { sql } from 'kysely'
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest'
import { AbortReason, ChallengeStatus, SignatureStatus } from '../../gen/bank/signature/v1/signature_pb.ts'
import { type App, failure, row, start, startApp, startRequest, transaction, wrongCode } from '../support/app.ts'
import { challengeOf } from '../support/delivery-outcome.ts'
import { startHeldVendor } from '../support/held-vendor.ts'
import { called, challengesOf, codesTold, history, times } from '../support/hops.ts'
import { seededRandom } from '../support/seeded-random.ts'

/** Races go on until each side has won so often, or this many rounds are over. */
const WINS = 8
const ROUNDS = 40

let app: App
let other: Awaited<ReturnType<App['replica']>>
beforeAll(async () => {
  app = await startApp({ DELIVERY_RETRIES: '0' })
  other = await app.replica()
})
beforeEach(() => app.sandbox.clear())
afterAll(() => app[Symbol.asyncDispose]())

test('the old code signs or is replaced, never both, and only one code signs', { timeout: 120_000 }, async () => {
  const random = seededRandom(17)
  const signedBy = { old: 0, new: 0 }
  for (let round = 0; goesOn(signedBy, round); round++) {
    const { signatureId, code } = await started()

    const [resent, ...outcomes] = await Promise.all([
      delay(random(8)).then(() => resend(other, signatureId)),
      ...times(2, null).map(() => delay(random(8)).then(() => complete(signatureId, code))),
    ])

    const old = outcomes.filter((outcome) => outcome === 'SIGNED').length
    expect(old).toBeLessThanOrEqual(1)
    const allowed = ['SIGNED', 'SIGNATURE_ALREADY_SIGNED', 'CODE_REJECTED']
    expect(allowed).toEqual(expect.arrayContaining(outcomes))
    const challenges = await challengesOf(app, signatureId)
    const newCode = codesTold(app)[1]
    if (old === 1) {
      expect(resent).toBe('SIGNATURE_ALREADY_SIGNED')
      expect(newCode).toBeUndefined()
      expect(challenges.map(({ status }) => status)).toEqual(['COMPLETED'])
      signedBy.old += 1
    } else {
      expect(resent).toBe('RESENT')
      expect(challenges.map(({ status }) => status)).toEqual(['CANCELLED', 'SENT'])
      expect(outcomes).toEqual(['CODE_REJECTED', 'CODE_REJECTED'])
      // One that came just when the new code took the place of the old was compared with neither, and took no try.
      const compared = (await history(app, signatureId)).filter((event) => event.startsWith('CODE_REJECTED'))
      expect(challenges.at(-1)?.tries_used).toBe(compared.length)
      expect(await complete(signatureId, newCode)).toBe('SIGNED')
      signedBy.new += 1
    }
    expect(await complete(signatureId, code)).toBe('SIGNATURE_ALREADY_SIGNED')
    const events = await history(app, signatureId)
    expect(events.filter((event) => event.startsWith('SIGNATURE_SIGNED'))).toEqual([
      `SIGNATURE_SIGNED #${challenges.length}`,
    ])
    app.sandbox.clear()
  }
  // Neither is always first, or there would be no race.
  expect(signedBy.old).toBeGreaterThan(0)
  expect(signedBy.new).toBeGreaterThan(0)
})

test('no new code takes the place of one whose last try was taken', { timeout: 120_000 }, async () => {
  const random = seededRandom(31)
  const resends = { RESENT: 0, TRIES_EXHAUSTED: 0 }
  for (let round = 0; round < ROUNDS; round++) {
    const { signatureId, code } = await started()
    for (const _ of ['first', 'second']) await complete(signatureId, wrongCode(code))

    const [resent, wrong] = await Promise.all([
      delay(random(6)).then(() => resend(other, signatureId)),
      delay(random(6)).then(() => complete(signatureId, wrongCode(code))),
    ])

    expect(wrong).toBe('CODE_REJECTED')
    const events = await history(app, signatureId)
    const isLastOfOld = events.includes('CODE_REJECTED #1 0 left')
    expect(events.includes('CHALLENGE_STARTED #2 twilio-sms')).toBe(!isLastOfOld)
    expect(called(app)).toHaveLength(isLastOfOld ? 1 : 2)
    if (isLastOfOld) expect(resent).toBe('TRIES_EXHAUSTED')
    resends[resent as keyof typeof resends] += 1
    const signs = !isLastOfOld && !events.includes('CODE_REJECTED #2 0 left')
    expect(await complete(signatureId, codesTold(app).at(-1))).toBe(signs ? 'SIGNED' : 'TRIES_EXHAUSTED')
    app.sandbox.clear()
  }
  expect(Math.min(...Object.values(resends))).toBeGreaterThan(0)
})

test('of two resends at once one sends and the other is too soon', { timeout: 60_000 }, async () => {
  for (let round = 0; round < ROUNDS / 4; round++) {
    const { signatureId } = await started()
    const outcomes = await Promise.all([resend(app, signatureId), resend(other, signatureId)])

    expect(outcomes.toSorted()).toEqual(['RESEND_TOO_SOON', 'RESENT'])
    expect(called(app)).toHaveLength(2)
    expect((await challengesOf(app, signatureId)).map(({ status }) => status)).toEqual(['CANCELLED', 'SENT'])
    expect(await complete(signatureId, codesTold(app)[1])).toBe('SIGNED')
    app.sandbox.clear()
  }
})

test('one key for two signatures at once sends for one of them and leaves the other as it was', async () => {
  for (let round = 0; round < ROUNDS / 4; round++) {
    const both = [await started(), await started()]
    const idempotencyKey = randomUUID()
    const outcomes = await Promise.all(
      both.map(({ signatureId }, n) => resend(n ? app : other, signatureId, idempotencyKey)),
    )

    expect(outcomes.toSorted()).toEqual(['IDEMPOTENCY_KEY_REUSED', 'RESENT'])
    expect(called(app)).toHaveLength(3)
    const refused = both[outcomes.indexOf('IDEMPOTENCY_KEY_REUSED')]
    expect(await history(app, refused?.signatureId)).toHaveLength(3)
    expect(await complete(refused?.signatureId ?? '', refused?.code)).toBe('SIGNED')
    app.sandbox.clear()
  }
})

test('a resend and an abort at once end in an aborted signature without a live code', { timeout: 60_000 }, async () => {
  const random = seededRandom(23)
  const resends = { sent: 0, 'not sent': 0 }
  for (let round = 0; goesOn(resends, round); round++) {
    const { signatureId } = await started()
    const [resent, aborted] = await Promise.all([
      delay(random(6)).then(() => resend(other, signatureId)),
      delay(random(6)).then(() => abort(signatureId)),
    ])

    expect(aborted).toBe('ABORTED')
    // What was sent before the abort may be answered after it.
    expect(['RESENT', 'SIGNATURE_ABORTED']).toContain(resent)
    const challenges = await challengesOf(app, signatureId)
    expect(new Set(challenges.map(({ status }) => status))).toEqual(new Set(['CANCELLED']))
    // A challenge that is aborted before its call is not sent.
    const { length: calls } = challenges.flatMap(({ attempts }) => attempts)
    expect(called(app)).toHaveLength(calls)
    expect([challenges.length, challenges.length - 1]).toContain(calls)
    expect(resent === 'RESENT' ? calls : 2).toBe(2)
    resends[calls > 1 ? 'sent' : 'not sent'] += 1
    for (const code of codesTold(app)) expect(await complete(signatureId, code)).toBe('SIGNATURE_ABORTED')
    expect(await row(app, 'signature', signatureId)).toMatchObject({ status: 'ABORTED' })
    app.sandbox.clear()
  }
  expect(Math.min(...Object.values(resends))).toBeGreaterThan(0)
})

test('an abort and the right code at once abort or sign, never both', { timeout: 60_000 }, async () => {
  const random = seededRandom(29)
  const ends = { SIGNED: 0, ABORTED: 0 }
  for (let round = 0; goesOn(ends, round); round++) {
    const { signatureId, code } = await started()
    const outcomes = await Promise.all([
      delay(random(6)).then(() => complete(signatureId, code)),
      delay(random(6)).then(() => abort(signatureId)),
    ])

    const end = outcomes[0] === 'SIGNED' ? 'SIGNED' : 'ABORTED'
    expect(outcomes).toEqual(
      end === 'SIGNED' ? ['SIGNED', 'SIGNATURE_ALREADY_SIGNED'] : ['SIGNATURE_ABORTED', 'ABORTED'],
    )
    ends[end] += 1
    expect(await row(app, 'signature', signatureId)).toMatchObject({ status: end })
    const [challenge] = await challengesOf(app, signatureId)
    expect(challenge?.status).toBe(end === 'SIGNED' ? 'COMPLETED' : 'CANCELLED')
    expect((await history(app, signatureId)).slice(3)).toEqual([
      end === 'SIGNED' ? 'SIGNATURE_SIGNED #1' : 'SIGNATURE_ABORTED OPERATOR',
    ])
  }
  expect(Math.min(...Object.values(ends))).toBeGreaterThan(0)
})

test('an answer tells signature and challenge as of one moment', async () => {
  const told: unknown[] = []
  for (let round = 0; round < ROUNDS; round++) {
    const request = startRequest()
    const { signature } = await app.client.startSignature(request)
    const answers = times(6, null).map((_, n) =>
      (n % 2 ? app : other).client.startSignature(request).then(
        ({ signature, challenge }) => `${signature?.status} ${challenge?.status}`,
        async (error: ConnectError) => (await failure(Promise.reject(error))).reason,
      ),
    )
    const [aborted, ...answered] = await Promise.all([abort(signature?.id ?? ''), ...answers])
    expect(aborted).toBe('ABORTED')
    told.push(...answered)
  }
  const waiting = `${SignatureStatus.PENDING} ${ChallengeStatus.SENT}`
  expect(new Set(told)).toEqual(new Set([waiting, 'SIGNATURE_ABORTED']))
})

test.each(['still under way', 'of unknown outcome'])(
  'a code whose delivery is %s is dead after a resend',
  async (what) => {
    await using twilio = await startHeldVendor()
    const replica = await app.replica({ TWILIO_API_URL: twilio.url })
    const request = startRequest()
    const starting = replica.client.startSignature(request)
    const call = await twilio.next()
    const { signature_id: signatureId } = await challengeOf(app, request.idempotencyKey)
    if (what === 'of unknown outcome') {
      call.reset()
      expect((await starting).challenge).toMatchObject({ status: ChallengeStatus.PENDING })
    }
    await passTime(signatureId)

    const { challenge } = await app.client.resendChallenge({ signatureId, idempotencyKey: randomUUID() })

    if (what === 'still under way') call.answer(503)
    expect((await starting).signature?.id).toBe(signatureId)
    expect((await challengesOf(app, signatureId)).map(({ status }) => status)).toEqual(['CANCELLED', 'SENT'])
    expect((await app.client.getSignature({ signatureId })).signature?.status).toBe(SignatureStatus.PENDING)
    expect(await complete(signatureId, call.code)).toBe('CODE_REJECTED')
    expect(await complete(signatureId, codesTold(app).at(-1))).toBe('SIGNED')
    expect(await row(app, 'challenge', String(challenge?.id))).toMatchObject({ status: 'COMPLETED' })
  },
)

/** Whether a race is to be run once more. */
function goesOn(wins: Record<string, number>, round: number): boolean {
  return round < ROUNDS && Math.min(...Object.values(wins)) < WINS
}

/** Starts a signature whose code was sent 31 seconds ago. */
async function started() {
  const one = await start(app)
  await passTime(one.signatureId)
  return one
}

async function resend({ client }: Pick<App, 'client'>, signatureId: string, idempotencyKey = randomUUID()) {
  return outcomeOf(client.resendChallenge({ signatureId, idempotencyKey }), 'RESENT')
}

async function abort(signatureId: string) {
  return outcomeOf(app.client.abortSignature({ signatureId, reason: AbortReason.OPERATOR }), 'ABORTED')
}

async function complete(signatureId: string, code = '') {
  return outcomeOf(app.client.completeSignature({ signatureId, code, transaction: transaction() }), 'SIGNED')
}

async function outcomeOf(call: Promise<unknown>, success: string): Promise<string | undefined> {
  return call.then(
    () => success,
    async (error: ConnectError) => (await failure(Promise.reject(error))).reason,
  )
}

/** Moves what was made for a signature so far back that a code may be sent again. */
async function passTime(signatureId: string): Promise<void> {
  await sql`
    UPDATE challenge SET created_at = created_at - interval '31 seconds' WHERE signature_id = ${signatureId}
  `.execute(app.db)
}
