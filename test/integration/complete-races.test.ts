import { randomUUID } from 'node:crypto'
import { Code, type ConnectError } from '@connectrpc/connect'
import { sql } from 'kysely'
import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import type { CompleteSignatureResponse } from '../../gen/bank/signature/v1/signature_pb.ts'
import { TimelineEventType } from '../../gen/bank/signature/v1/signature_pb.ts'
import { type App, failure, row, start, startApp, timeline, transaction, wrongCode } from '../support/app.ts'

type Replica = Pick<App, 'client' | 'sandbox'>

const ROUNDS = 10
const PATIENCE_MS = 10_000

let app: App
let replicas: Replica[]
beforeAll(async () => {
  app = await startApp()
  // More tries let more right codes through to the last step, where only one may win.
  replicas = [app, await app.replica({ CHALLENGE_MAX_TRIES: '5' })]
})
afterAll(() => app[Symbol.asyncDispose]())

test('of 64 right codes at once exactly one signs', { timeout: 120_000 }, async () => {
  for (let round = 0; round < ROUNDS; round++) {
    const { signatureId, challengeId, code } = await start(replicas[round % 2] ?? app)

    const outcomes = await atOnce(64, signatureId, () => ({ code }))

    expect(outcomes.SIGNED).toBe(1)
    const { SIGNED, SIGNATURE_ALREADY_SIGNED = 0, TRIES_EXHAUSTED = 0, ...others } = outcomes
    expect(others).toEqual({})
    expect(SIGNATURE_ALREADY_SIGNED + TRIES_EXHAUSTED).toBe(63)
    expect(await row(app, 'signature', signatureId)).toMatchObject({ status: 'SIGNED' })
    expect(await row(app, 'challenge', challengeId)).toMatchObject({ status: 'COMPLETED' })
    expect(await timeline(app, signatureId)).toEqual([
      'SIGNATURE_STARTED',
      'CHALLENGE_STARTED',
      'CHALLENGE_SENT',
      'SIGNATURE_SIGNED',
    ])
    expect(await positions(signatureId)).toEqual([1, 2, 3, 4])
  }
})

test('of 50 wrong codes at once exactly three are compared', { timeout: 120_000 }, async () => {
  for (let round = 0; round < ROUNDS; round++) {
    const { signatureId, challengeId, code } = await start(app)

    const outcomes = await atOnce(50, signatureId, () => ({ code: wrongCode(code) }))

    expect(outcomes).toEqual({ CODE_REJECTED: 3, TRIES_EXHAUSTED: 47 })
    expect(await row(app, 'signature', signatureId)).toMatchObject({ status: 'FAILED' })
    expect(await row(app, 'challenge', challengeId)).toMatchObject({
      status: 'FAILED',
      failure_reason: 'TRIES_EXHAUSTED',
      tries_used: 3,
    })
    expect((await timeline(app, signatureId)).toSorted()).toEqual(
      [
        'SIGNATURE_STARTED',
        'CHALLENGE_STARTED',
        'CHALLENGE_SENT',
        ...Array(3).fill('CODE_REJECTED'),
        'SIGNATURE_FAILED',
      ].toSorted(),
    )
    expect(await positions(signatureId)).toEqual([1, 2, 3, 4, 5, 6, 7])
    expect(await failure(complete(app, signatureId, { code }))).toMatchObject({ reason: 'TRIES_EXHAUSTED' })
  }
})

test('each wrong code that is compared is told how many tries are left, no two the same', async () => {
  const { signatureId, code } = await start(app)
  const calls = Array.from({ length: 10 }, (_, n) =>
    failure(complete(replicas[n % 2] ?? app, signatureId, { code: wrongCode(code) })),
  )

  const rejected = (await Promise.all(calls)).filter(({ reason }) => reason === 'CODE_REJECTED')

  expect(rejected.map(({ metadata }) => metadata.tries_remaining).toSorted()).toEqual(['0', '1', '2'])
  const { signature } = await app.client.getSignature({ signatureId })
  const tries = signature?.timeline
    .filter(({ type }) => type === TimelineEventType.CODE_REJECTED)
    .map(({ details }) => details.try)
  expect(tries?.toSorted()).toEqual(['1', '2', '3'])
})

test('among wrong codes at once the right one signs or is too late, and what is stored agrees', async () => {
  for (let round = 0; round < ROUNDS; round++) {
    const { signatureId, challengeId, code } = await start(app)

    const outcomes = await atOnce(12, signatureId, (n) => ({ code: n === round ? code : wrongCode(code) }))

    const { SIGNED = 0, CODE_REJECTED = 0, SIGNATURE_ALREADY_SIGNED, TRIES_EXHAUSTED, ...others } = outcomes
    expect(others).toEqual({})
    const stored = await row(app, 'challenge', challengeId)
    expect(await row(app, 'signature', signatureId)).toMatchObject({ status: SIGNED ? 'SIGNED' : 'FAILED' })
    expect(stored).toMatchObject({ status: SIGNED ? 'COMPLETED' : 'FAILED' })
    expect(SIGNED + CODE_REJECTED).toBeLessThanOrEqual(3)
    const events = await timeline(app, signatureId)
    expect(events.filter((type) => type === 'CODE_REJECTED')).toHaveLength(CODE_REJECTED)
    expect(events.filter((type) => ['SIGNATURE_SIGNED', 'SIGNATURE_FAILED'].includes(type))).toHaveLength(1)
    expect(await positions(signatureId)).toEqual(events.map((_, n) => n + 1))
  }
})

test('another transaction and the right code at once abort or sign, never both', async () => {
  for (let round = 0; round < ROUNDS; round++) {
    const { signatureId, challengeId, code } = await start(app)
    const other = transaction({ payeeName: 'Someone else' })

    const outcomes = await atOnce(8, signatureId, (n) => ((n + round) % 2 ? { code } : { code, transaction: other }))

    const { SIGNED = 0, TRANSACTION_MISMATCH = 0, ...refused } = outcomes
    const late = ['SIGNATURE_ALREADY_SIGNED', 'SIGNATURE_ABORTED', 'TRIES_EXHAUSTED']
    expect(late).toEqual(expect.arrayContaining(Object.keys(refused)))
    expect(SIGNED + TRANSACTION_MISMATCH).toBe(1)
    const end = SIGNED ? 'SIGNED' : 'ABORTED'
    expect(await row(app, 'signature', signatureId)).toMatchObject({ status: end })
    expect(await row(app, 'challenge', challengeId)).toMatchObject({ status: SIGNED ? 'COMPLETED' : 'CANCELLED' })
    expect(await timeline(app, signatureId)).toEqual([
      'SIGNATURE_STARTED',
      'CHALLENGE_STARTED',
      'CHALLENGE_SENT',
      `SIGNATURE_${end}`,
    ])
    expect(await positions(signatureId)).toEqual([1, 2, 3, 4])
  }
})

test('tries are counted on after the process was replaced', async () => {
  const first = await app.replica()
  const { signatureId, challengeId, code } = await start(first)
  const rejected = (replica: Replica) => failure(complete(replica, signatureId, { code: wrongCode(code) }))
  expect(await rejected(first)).toMatchObject({ metadata: { tries_remaining: '2' } })
  await first.server[Symbol.asyncDispose]()

  const second = await app.replica()
  expect(await rejected(second)).toMatchObject({ metadata: { tries_remaining: '1' } })
  await second.server[Symbol.asyncDispose]()

  const third = await app.replica()
  expect(await rejected(third)).toMatchObject({ metadata: { tries_remaining: '0' } })
  expect(await failure(complete(third, signatureId, { code }))).toMatchObject({ reason: 'TRIES_EXHAUSTED' })
  expect(await row(app, 'challenge', challengeId)).toMatchObject({ status: 'FAILED', tries_used: 3 })
})

test('a try is spent even when its call fails after taking it', async () => {
  const { signatureId, challengeId, code } = await start(app)

  await app.db.transaction().execute(async (trx) => {
    const { rows } = await sql<{ pid: number }>`
      SELECT pg_backend_pid() AS pid FROM signature WHERE id = ${signatureId} FOR UPDATE
    `.execute(trx)
    const interrupted = failure(complete(app, signatureId, { code: wrongCode(code) }))
    await killWaitingFor(rows[0]?.pid ?? 0)
    expect(await interrupted).toMatchObject({ code: Code.Unavailable, reason: 'STORAGE_UNAVAILABLE' })
  })

  expect(await row(app, 'challenge', challengeId)).toMatchObject({ status: 'SENT', tries_used: 1 })
  expect(await failure(complete(app, signatureId, { code: wrongCode(code) }))).toMatchObject({
    metadata: { tries_remaining: '1' },
  })
  await complete(app, signatureId, { code })
})

test('the right code sent twice at once with one try left is signed, and the second call is told so', async () => {
  const { signatureId, code } = await start(app)
  for (const _ of ['first', 'second']) await failure(complete(app, signatureId, { code: wrongCode(code) }))

  // Holds back the call that took the last try, so that the other one always comes before it has signed.
  let second: Promise<{ reason: string | undefined }> | undefined
  const first = await app.db.transaction().execute(async (trx) => {
    const { rows } = await sql<{ pid: number }>`
      SELECT pg_backend_pid() AS pid FROM signature WHERE id = ${signatureId} FOR UPDATE
    `.execute(trx)
    const signing = complete(app, signatureId, { code })
    const [signer] = await vi.waitFor(async () => {
      const pids = await waitingFor(rows[0]?.pid ?? 0)
      expect(pids).toHaveLength(1)
      return pids
    }, PATIENCE_MS)
    second = failure(complete(app, signatureId, { code }))
    await vi.waitFor(async () => expect(await waitingFor(signer ?? 0)).toHaveLength(1), PATIENCE_MS)
    return { signing }
  })

  await first.signing
  expect(await second).toMatchObject({ code: Code.FailedPrecondition, reason: 'SIGNATURE_ALREADY_SIGNED' })
})

test.each(['PENDING', 'SENT'])('a signature with a %s challenge refuses a second open one', async (status) => {
  const { signatureId, challengeId } = await start(app)
  await sql`UPDATE challenge SET status = ${status} WHERE id = ${challengeId}`.execute(app.db)

  for (const second of ['PENDING', 'SENT']) {
    await expect(copyChallenge(challengeId, second)).rejects.toMatchObject({
      code: '23505',
      constraint: 'challenge_one_open',
    })
  }
  await copyChallenge(challengeId, 'CANCELLED')
  const { signature } = await app.client.getSignature({ signatureId })
  expect(signature?.challengeIds).toHaveLength(2)
})

interface Submission {
  code: string
  transaction?: ReturnType<typeof transaction>
}

function complete(
  { client }: Replica,
  signatureId: string,
  submission: Submission,
): Promise<CompleteSignatureResponse> {
  return client.completeSignature({ signatureId, transaction: transaction(), ...submission })
}

/** Submits this many codes at once, spread over the replicas, and counts what became of them: SIGNED or the reason. */
async function atOnce(
  calls: number,
  signatureId: string,
  submission: (n: number) => Submission,
): Promise<Record<string, number>> {
  const outcomes = await Promise.all(
    Array.from({ length: calls }, async (_, n) => {
      const call = complete(replicas[n % replicas.length] ?? app, signatureId, submission(n))
      return call.then(
        () => 'SIGNED',
        async (error: ConnectError) => (await failure(Promise.reject(error))).reason ?? error.message,
      )
    }),
  )
  return Object.fromEntries(Object.entries(Object.groupBy(outcomes, (o) => o)).map(([o, all]) => [o, all?.length ?? 0]))
}

async function positions(signatureId: string): Promise<number[]> {
  const rows = await app.db
    .selectFrom('timeline')
    .where('signature_id', '=', signatureId)
    .orderBy('position')
    .select('position')
    .execute()
  return rows.map(({ position }) => position)
}

/** The backends that wait for a lock that this one holds. */
async function waitingFor(pid: number): Promise<number[]> {
  const { rows } = await sql<{ pid: number }>`
    SELECT pid FROM pg_stat_activity WHERE ${pid} = ANY (pg_blocking_pids(pid))
  `.execute(app.db)
  return rows.map((waiting) => waiting.pid)
}

async function killWaitingFor(pid: number): Promise<void> {
  const [waiting] = await vi.waitFor(async () => {
    const pids = await waitingFor(pid)
    expect(pids).toHaveLength(1)
    return pids
  }, PATIENCE_MS)
  await sql`SELECT pg_terminate_backend(${waiting})`.execute(app.db)
}

async function copyChallenge(challengeId: string, status: string): Promise<void> {
  await sql`
    INSERT INTO challenge
    SELECT (jsonb_populate_record(challenge, jsonb_build_object('id', ${randomUUID()}::text, 'status', ${status}::text))).*
    FROM challenge WHERE id = ${challengeId}
  `.execute(app.db)
}
