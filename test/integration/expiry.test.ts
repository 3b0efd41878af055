import { timestampDate, timestampFromMs } from '@bufbuild/protobuf/wkt'
import { Code } from '@connectrpc/connect'
import { sql } from 'kysely'
import { afterAll, afterEach, beforeAll, expect, test, vi } from 'vitest'
import { ProviderState } from '../../gen/bank/signature/v1/routing_pb.ts'
import { ChallengeStatus, SignatureStatus } from '../../gen/bank/signature/v1/signature_pb.ts'
import {
  type App,
  failure,
  PHONE,
  row,
  start,
  startApp,
  startRequest,
  timeline,
  transaction,
  typeName,
  wrongCode,
} from '../support/app.ts'
import { publish, route } from '../support/routing.ts'

let app: App
beforeAll(async () => {
  app = await startApp()
})
afterEach(() => {
  vi.useRealTimers()
})
afterAll(() => app[Symbol.asyncDispose]())

test('the right code is refused once its time is over, and the signature is closed', async () => {
  const { signatureId, challengeId, code } = await start(app)
  await passTime(signatureId)

  const refused = await failure(app.client.completeSignature({ signatureId, code, transaction: transaction() }))

  expect(refused).toMatchObject({ code: Code.FailedPrecondition, reason: 'SIGNATURE_EXPIRED' })
  await expectExpired(signatureId, challengeId)
})

test('a signature read after its time is expired, and so is its challenge', async () => {
  const { signatureId, challengeId } = await start(app)
  await passTime(signatureId)

  const { signature } = await app.client.getSignature({ signatureId })

  expect(signature).toMatchObject({ status: SignatureStatus.EXPIRED, completeTime: expect.anything() })
  expect(signature?.timeline.map(({ position, type }) => [position, typeName(type)])).toEqual([
    [1, 'SIGNATURE_STARTED'],
    [2, 'CHALLENGE_STARTED'],
    [3, 'CHALLENGE_SENT'],
    [4, 'SIGNATURE_EXPIRED'],
  ])
  await expectExpired(signatureId, challengeId)
})

test('a challenge read after its time is expired, and so is its signature', async () => {
  const { signatureId, challengeId } = await start(app)
  await passTime(signatureId)

  const { challenge } = await app.client.getChallenge({ challengeId })

  expect(challenge).toMatchObject({ status: ChallengeStatus.EXPIRED, triesRemaining: 3 })
  expect(challenge?.failure).toBeUndefined()
  await expectExpired(signatureId, challengeId)
})

test('the same start again after its time is told that it is over, and sends nothing', async () => {
  const request = startRequest()
  const { signature } = await app.client.startSignature(request)
  const signatureId = signature?.id ?? ''
  const callsBefore = app.sandbox.calls.length
  await passTime(signatureId)

  const again = await failure(app.client.startSignature(request))

  expect(again).toMatchObject({ reason: 'SIGNATURE_EXPIRED', metadata: { signature_id: signatureId } })
  expect(app.sandbox.calls).toHaveLength(callsBefore)
})

test.each([
  ['a wrong code', (code: string) => ({ code: wrongCode(code), transaction: transaction() })],
  ['another transaction', (code: string) => ({ code, transaction: transaction({ payeeName: 'Someone else' }) })],
])('%s after the time is told that it is over, and changes nothing more', async (_, submission) => {
  const { signatureId, challengeId, code } = await start(app)
  await passTime(signatureId)

  for (const _ of ['first', 'again']) {
    expect(await failure(app.client.completeSignature({ signatureId, ...submission(code) }))).toMatchObject({
      reason: 'SIGNATURE_EXPIRED',
    })
  }

  await expectExpired(signatureId, challengeId)
})

test('tries taken before the time was over stay counted', async () => {
  const { signatureId, challengeId, code } = await start(app)
  const submit = (submitted: string) =>
    failure(app.client.completeSignature({ signatureId, code: submitted, transaction: transaction() }))
  await submit(wrongCode(code))
  await passTime(signatureId)

  expect(await submit(code)).toMatchObject({ reason: 'SIGNATURE_EXPIRED' })

  expect(await row(app, 'challenge', challengeId)).toMatchObject({ status: 'EXPIRED', tries_used: 1 })
})

test('many reads and codes at once close an expired signature exactly once', async () => {
  const other = await app.replica()
  const { signatureId, challengeId, code } = await start(app)
  await passTime(signatureId)

  const reads = await Promise.all(
    Array.from({ length: 20 }, async (_, n) => {
      const { client } = n % 2 ? app : other
      if (n % 5 !== 0) return (await client.getSignature({ signatureId })).signature?.status
      const refused = await failure(client.completeSignature({ signatureId, code, transaction: transaction() }))
      return refused.reason
    }),
  )

  expect(new Set(reads)).toEqual(new Set([SignatureStatus.EXPIRED, 'SIGNATURE_EXPIRED']))
  await expectExpired(signatureId, challengeId)
  const counted = [await app.metrics(), await other.metrics()].map(
    (page) => /^signatures_total\{status="EXPIRED"\} (\d+)$/m.exec(page)?.[1] ?? '0',
  )
  const { rows } = await sql<{ n: number }>`
    SELECT count(*)::int AS n FROM signature WHERE status = 'EXPIRED'
  `.execute(app.db)
  expect(Number(counted[0]) + Number(counted[1])).toBe(rows[0]?.n)
})

test('a code whose time runs out between its comparison and its signing does not sign', async () => {
  const { signatureId, challengeId, code } = await start(app)

  const completing = await app.db.transaction().execute(async (trx) => {
    const { rows } = await sql<{ pid: number }>`
      SELECT pg_backend_pid() AS pid FROM signature WHERE id = ${signatureId} FOR UPDATE
    `.execute(trx)
    const call = failure(app.client.completeSignature({ signatureId, code, transaction: transaction() }))
    await vi.waitFor(async () => {
      const waiting = await sql`
        SELECT FROM pg_stat_activity WHERE ${rows[0]?.pid} = ANY (pg_blocking_pids(pid))
      `.execute(app.db)
      expect(waiting.rows).toHaveLength(1)
    }, 10_000)
    await passTime(signatureId, trx)
    return { call }
  })

  expect(await completing.call).toMatchObject({ reason: 'SIGNATURE_EXPIRED' })
  await expectExpired(signatureId, challengeId, 1)
})

test('a signed or failed signature never expires', async () => {
  const signed = await start(app)
  await app.client.completeSignature({ ...signed, transaction: transaction() })
  app.sandbox.failNext({ status: 401 })
  const { metadata } = await failure(app.client.startSignature(startRequest()))

  for (const [signatureId, status] of [
    [signed.signatureId, SignatureStatus.SIGNED],
    [metadata.signature_id ?? '', SignatureStatus.FAILED],
  ] as const) {
    await passTime(signatureId)
    const { signature } = await app.client.getSignature({ signatureId })
    expect(signature).toMatchObject({ status })
    expect(await timeline(app, signatureId)).not.toContain('SIGNATURE_EXPIRED')
  }
})

test('CHALLENGE_TTL_SECONDS is how long a code may be used', async () => {
  const replica = await app.replica({ CHALLENGE_TTL_SECONDS: '60' })
  const { signature, challengeId } = await start(replica)

  const lives = (from = signature.createTime, to = signature.expireTime) =>
    from && to && timestampDate(to).getTime() - timestampDate(from).getTime()
  expect(lives()).toBe(60_000)
  const { challenge } = await app.client.getChallenge({ challengeId })
  expect(lives(challenge?.createTime, challenge?.expireTime)).toBe(60_000)
  const validity = Number(app.sandbox.calls.at(-1)?.form.get('ValidityPeriod'))
  expect(validity).toBeGreaterThan(50)
  expect(validity).toBeLessThanOrEqual(60)
})

test.each([
  ['fast', 5],
  ['slow', -5],
])("the process's clock may be hours %s: only the database's counts", async (_, hours) => {
  const before = await databaseTime()
  vi.useFakeTimers({ now: Date.now() + hours * 3_600_000, toFake: ['Date'] })
  const sent = await start(app)
  const late = await start(app)

  const { signature } = await app.client.getSignature({ signatureId: sent.signatureId })
  expect(signature).toMatchObject({ status: SignatureStatus.PENDING })
  const created = signature?.createTime ? timestampDate(signature.createTime).getTime() : 0
  const expires = signature?.expireTime ? timestampDate(signature.expireTime).getTime() : 0
  expect(created).toBeGreaterThanOrEqual(before)
  expect(created).toBeLessThanOrEqual(await databaseTime())
  expect(expires - created).toBe(300_000)
  const validity = Number(app.sandbox.calls.at(-1)?.form.get('ValidityPeriod'))
  expect(validity).toBeGreaterThan(290)
  expect(validity).toBeLessThanOrEqual(300)
  expect(app.sandbox.messages[0]).toMatchObject({ to: PHONE, body: expect.stringContaining('Valid for 4 min') })

  const signed = await app.client.completeSignature({ ...sent, transaction: transaction() })
  expect(signed.signature).toMatchObject({ status: SignatureStatus.SIGNED })
  await passTime(late.signatureId)
  expect(await failure(app.client.completeSignature({ ...late, transaction: transaction() }))).toMatchObject({
    reason: 'SIGNATURE_EXPIRED',
  })
})

test.each([
  ['fast', 6],
  ['slow', -6],
])(
  'of a code that is sent again the message tells the time that the database says is left, by a clock %s',
  async (_, minutes) => {
    const { signatureId } = await start(app)
    await sql`UPDATE signature SET expires_at = clock_timestamp() + interval '200 s' WHERE id = ${signatureId}`.execute(
      app.db,
    )
    await sql`
    UPDATE challenge SET created_at = created_at - interval '31 s' WHERE signature_id = ${signatureId}
  `.execute(app.db)
    vi.useFakeTimers({ now: Date.now() + minutes * 60_000, toFake: ['Date'] })

    await app.client.resendChallenge({ signatureId, idempotencyKey: crypto.randomUUID() })

    const validity = Number(app.sandbox.calls.at(-1)?.form.get('ValidityPeriod'))
    expect(validity).toBeGreaterThan(190)
    expect(validity).toBeLessThanOrEqual(200)
  },
)

test.each([
  ['fast', 6],
  ['slow', -6],
])('a pause lasts as long as the database says, by a clock %s', async (_, minutes) => {
  await publish(app, [route(1, { SMS: ['vonage-sms', 'twilio-sms'] })])
  vi.useFakeTimers({ now: Date.now() + minutes * 60_000, toFake: ['Date'] })
  const used = async () => (await app.client.startSignature(startRequest())).challenge?.provider
  const pauseFor = async (ms: number) =>
    app.routing.setProviderState({
      provider: 'vonage-sms',
      state: ProviderState.PAUSED,
      pauseUntil: timestampFromMs((await databaseTime()) + ms),
      author: 'ops@bank.example',
      reason: 'an outage',
    })

  await pauseFor(60_000)
  expect(await used()).toBe('twilio-sms')
  const { providers } = await app.routing.listProviders({})
  const { killSwitch } = providers.find(({ name }) => name === 'vonage-sms') ?? {}
  expect(killSwitch).toMatchObject({ state: ProviderState.PAUSED })
  expect(await app.metrics()).toContain('provider_paused{provider="vonage-sms"} 1')

  await pauseFor(1_000)
  await expect.poll(used, { timeout: 5_000 }).toBe('vonage-sms')
  expect(await failure(pauseFor(-1_000))).toMatchObject({ reason: 'INVALID_FIELD', fields: ['pause_until'] })
})

/** Moves a signature and its challenges so far back in the database that their time was over a moment ago. */
async function passTime(signatureId: string, db: Pick<App, 'db'>['db'] = app.db): Promise<void> {
  for (const [table, id] of [
    ['signature', 'id'],
    ['challenge', 'signature_id'],
  ] as const) {
    await sql`
      UPDATE ${sql.table(table)} SET expires_at = clock_timestamp() - interval '1 millisecond'
      WHERE ${sql.ref(id)} = ${signatureId}
    `.execute(db)
  }
}

async function expectExpired(signatureId: string, challengeId: string, triesUsed = 0): Promise<void> {
  expect(await row(app, 'signature', signatureId)).toMatchObject({ status: 'EXPIRED', completed_at: expect.any(Date) })
  expect(await row(app, 'challenge', challengeId)).toMatchObject({
    status: 'EXPIRED',
    failure_reason: null,
    tries_used: triesUsed,
  })
  expect(await timeline(app, signatureId)).toEqual([
    'SIGNATURE_STARTED',
    'CHALLENGE_STARTED',
    'CHALLENGE_SENT',
    'SIGNATURE_EXPIRED',
  ])
}

/** Milliseconds since 1970, by the database's clock. */
async function databaseTime(): Promise<number> {
  const { rows } = await sql<{ ms: number }>`
    SELECT (extract(epoch FROM clock_timestamp()) * 1000)::float8 AS ms
  `.execute(app.db)
  return Math.floor(rows[0]?.ms ?? Number.NaN)
}
