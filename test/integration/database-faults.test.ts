import { once } from 'node:events'
import { createServer } from 'node:net'
import { Code } from '@connectrpc/connect'
import { sql } from 'kysely'
import { afterAll, beforeAll, beforeEach, expect, test, vi } from 'vitest'
import { startWire, type Wire } from '../../chaos/wire.ts'
import { SignatureStatus } from '../../gen/bank/signature/v1/signature_pb.ts'
import {
  type App,
  failure,
  row,
  start,
  startApp,
  startRequest,
  timeline,
  transaction,
  typeName,
} from '../support/app.ts'
import { attempts } from '../support/delivery-outcome.ts'

const unavailable = { code: Code.Unavailable, reason: 'STORAGE_UNAVAILABLE' }

/** The service behind a wire to its database; provider and the near side of the database are in `home`. */
let home: App
let wire: Wire
let app: Omit<App, 'replica'>
beforeAll(async () => {
  home = await startApp()
  const url = new URL(home.env.DATABASE_URL ?? '')
  wire = await startWire(Number(url.port), (said) => said.includes('begin\0'))
  app = await home.replica({ DATABASE_URL: Object.assign(url, { port: String(wire.port) }).href })
})
beforeEach(() => home.sandbox.clear())
afterAll(async () => {
  await home[Symbol.asyncDispose]()
  await wire[Symbol.asyncDispose]()
})

/** Cuts the connection on which a transaction that has said `text` commits, when the server has committed and nobody was told. */
function loseCommitOf(text: string): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>()
  wire.traps.add({
    sees: (said, since) => said.includes('commit\0') && since.includes(text),
    holds: 'answer',
    fire(reset) {
      reset()
      resolve()
    },
  })
  return promise
}

/** Stands in the wire's place until somebody has come for the database in vain. */
async function turnAway(): Promise<void> {
  const server = createServer((socket) => socket.destroy()).listen(wire.port, '127.0.0.1')
  await once(server, 'connection')
  server.close()
  await once(server, 'close')
}

/** Raises an SQLSTATE at so many writes to a table. */
async function raise(table: string, sqlstate: string, times: number): Promise<AsyncDisposable> {
  const name = sql.id(`raise_${table}`)
  await sql`CREATE SEQUENCE ${name}`.execute(home.db)
  await sql`
    CREATE FUNCTION ${name}() RETURNS trigger LANGUAGE plpgsql AS ${sql.lit(`BEGIN
      IF nextval('raise_${table}') <= ${times} THEN RAISE EXCEPTION 'test' USING ERRCODE = '${sqlstate}'; END IF;
      RETURN NEW;
    END`)}
  `.execute(home.db)
  await sql`
    CREATE TRIGGER ${name} BEFORE INSERT OR UPDATE ON ${sql.table(table)} FOR EACH ROW EXECUTE FUNCTION ${name}()
  `.execute(home.db)
  return {
    async [Symbol.asyncDispose]() {
      await sql`DROP FUNCTION ${name} CASCADE`.execute(home.db)
      await sql`DROP SEQUENCE ${name}`.execute(home.db)
    },
  }
}

test('a start whose COMMIT had no answer is found again by its key, and sends one message', async () => {
  const lost = loseCommitOf('insert into "idempotency_key"')
  const request = startRequest()
  const { signature, challenge } = await app.client.startSignature(request)
  await lost
  expect(home.sandbox.messages).toHaveLength(1)
  expect(await row(home, 'challenge', challenge?.id ?? '')).toMatchObject({ status: 'SENT' })
  const again = await app.client.startSignature(request)
  expect(again.signature?.id).toBe(signature?.id)
  expect(home.sandbox.calls).toHaveLength(1)
})

test('a start whose COMMIT never came about is carried out once', async () => {
  const lost = Promise.withResolvers<void>()
  wire.traps.add({
    sees: (said, since) => said.includes('commit\0') && since.includes('insert into "idempotency_key"'),
    holds: 'request',
    fire(reset) {
      reset()
      lost.resolve()
    },
  })
  const { signature } = await app.client.startSignature(startRequest())
  await lost.promise
  expect(await timeline(app, signature?.id ?? '')).toEqual(['SIGNATURE_STARTED', 'CHALLENGE_STARTED', 'CHALLENGE_SENT'])
  expect(home.sandbox.calls).toHaveLength(1)
})

test('a start whose COMMIT had no answer is found when the database comes back a moment later', async () => {
  const lost = loseCommitOf('insert into "idempotency_key"')
  const request = startRequest()
  const answer = app.client.startSignature(request)
  await lost
  await wire.refuse()
  await turnAway()
  await wire.accept()
  expect((await answer).challenge?.providerChallengeId).toBe(home.sandbox.messages[0]?.sid)
  expect(home.sandbox.calls).toHaveLength(1)
})

test('a transaction whose connection breaks in the middle is run again', async () => {
  const broken = Promise.withResolvers<void>()
  wire.traps.add({
    sees: (said) => said.includes('insert into "signature"'),
    holds: 'request',
    fire(reset) {
      reset()
      broken.resolve()
    },
  })
  const { signature } = await app.client.startSignature(startRequest())
  await broken.promise
  expect(await timeline(app, signature?.id ?? '')).toEqual(['SIGNATURE_STARTED', 'CHALLENGE_STARTED', 'CHALLENGE_SENT'])
})

test('what was sent is recorded once, though the COMMIT of the record had no answer', async () => {
  const lost = loseCommitOf('"provider_proof" =')
  const { signature, challenge } = await app.client.startSignature(startRequest())
  await lost
  expect(challenge?.providerChallengeId).toBe(home.sandbox.messages[0]?.sid)
  expect(await timeline(app, signature?.id ?? '')).toEqual(['SIGNATURE_STARTED', 'CHALLENGE_STARTED', 'CHALLENGE_SENT'])
})

test('a message that was sent while the database was away is recorded when it is back', async () => {
  home.sandbox.failNext({ latencyMs: 300 })
  const called = home.sandbox.nextCall()
  const request = startRequest()
  const answer = app.client.startSignature(request)
  await called
  await wire.refuse()
  await vi.waitFor(() => expect(home.sandbox.messages).toHaveLength(1))
  await wire.accept()
  const { challenge } = await answer
  expect(challenge?.providerChallengeId).toBe(home.sandbox.messages[0]?.sid)
  expect(await attempts(home, challenge?.id)).toMatchObject([{ number: 1, outcome: 'sent' }])
})

test('a call that can not be written down for a moment is made when it can', async () => {
  await using _ = await raise('attempt', '53100', 2)
  const { challenge } = await app.client.startSignature(startRequest())
  expect(await row(home, 'challenge', challenge?.id ?? '')).toMatchObject({ status: 'SENT' })
  expect(home.sandbox.calls).toHaveLength(1)
})

test('a hop whose COMMIT had no answer goes on to the next provider, once', async () => {
  await sql`
    INSERT INTO routing_table (version, author, reason, routes)
    SELECT max(version) + 1, 'test', 'two providers', '[{"priority": 1, "match": {"channel": null, "country": null,
      "callingPrefix": null, "transactionType": null, "customerSegment": "TWO", "amount": null, "timeWindow": null},
      "channels": [{"channel": "SMS", "providers": [{"provider": "twilio-sms", "weight": 1},
        {"provider": "vonage-sms", "weight": 0}]}]}, {"priority": 1000, "match": {"channel": null, "country": null,
      "callingPrefix": null, "transactionType": null, "customerSegment": null, "amount": null, "timeWindow": null},
      "channels": [{"channel": "SMS", "providers": [{"provider": "twilio-sms", "weight": 1}]}]}]'
    FROM routing_table
  `.execute(home.db)
  await vi.waitFor(async () => expect(await app.metrics()).toMatch(/^routing_table_version [2-9]/m))
  home.sandbox.failNext({ provider: 'twilio-sms', status: 401 })
  const lost = loseCommitOf('CHALLENGE_FAILED')
  const { signature, challenge } = await app.client.startSignature(startRequest({ customerSegment: 'TWO' }))
  await lost
  expect(challenge?.provider).toBe('vonage-sms')
  expect(home.sandbox.calls.map(({ provider }) => provider)).toEqual(['twilio-sms', 'vonage-sms'])
  expect(await timeline(app, signature?.id ?? '')).toEqual([
    'SIGNATURE_STARTED',
    'CHALLENGE_STARTED',
    'CHALLENGE_FAILED',
    'CHALLENGE_STARTED',
    'CHALLENGE_SENT',
  ])
})

test('the call whose signing COMMIT had no answer is told SIGNED, and nobody else', async () => {
  const { signatureId, code } = await start(app)
  const lost = loseCommitOf('SIGNATURE_SIGNED')
  const completion = { signatureId, code, transaction: transaction() }
  const { signature } = await app.client.completeSignature(completion)
  await lost
  expect(signature?.status).toBe(SignatureStatus.SIGNED)
  expect(await failure(app.client.completeSignature(completion))).toMatchObject({ reason: 'SIGNATURE_ALREADY_SIGNED' })
  expect((await timeline(app, signatureId)).filter((type) => type === 'SIGNATURE_SIGNED')).toHaveLength(1)
})

test('a wrong code whose COMMIT had no answer is on the timeline once', async () => {
  const { signatureId, challengeId, code } = await start(app)
  const lost = loseCommitOf('CODE_REJECTED')
  const wrong = { signatureId, code: code === '000000' ? '000001' : '000000', transaction: transaction() }
  expect(await failure(app.client.completeSignature(wrong))).toMatchObject({
    reason: 'CODE_REJECTED',
    metadata: { tries_remaining: '2' },
  })
  await lost
  expect((await timeline(app, signatureId)).filter((type) => type === 'CODE_REJECTED')).toHaveLength(1)
  expect(await row(home, 'challenge', challengeId)).toMatchObject({ tries_used: 1 })
})

test.each([
  ['a deadlock', '40P01'],
  ['a serialization failure', '40001'],
])('a transaction that lost to %s is run again', async (_, sqlstate) => {
  await using _timeline = await raise('timeline', sqlstate, 2)
  const { signatureId, code } = await start(app)
  expect(await timeline(app, signatureId)).toEqual(['SIGNATURE_STARTED', 'CHALLENGE_STARTED', 'CHALLENGE_SENT'])
  await using _signature = await raise('signature', sqlstate, 2)
  await app.client.completeSignature({ signatureId, code, transaction: transaction() })
  expect(home.sandbox.calls).toHaveLength(1)
})

test('a transaction that loses again and again is given up, and nothing of it stays', async () => {
  const request = startRequest()
  {
    await using _ = await raise('signature', '40001', 1_000_000)
    expect(await failure(app.client.startSignature(request))).toMatchObject(unavailable)
  }
  expect(home.sandbox.calls).toHaveLength(0)
  expect(
    await home.db.selectFrom('idempotency_key').where('key', '=', String(request.idempotencyKey)).selectAll().execute(),
  ).toEqual([])
  await app.client.startSignature(request)
})

test.each([
  ['a full disk', '53100'],
  ['a server that starts up', '57P03'],
  ['an I/O error', '58030'],
  ['a standby in its place', '25006'],
])('%s is STORAGE_UNAVAILABLE, and the first try afterwards is served', async (_, sqlstate) => {
  const request = startRequest()
  {
    await using _ = await raise('signature', sqlstate, 1_000_000)
    expect(await failure(app.client.startSignature(request))).toMatchObject(unavailable)
  }
  const { challenge } = await app.client.startSignature(request)
  expect(await row(home, 'challenge', challenge?.id ?? '')).toMatchObject({ status: 'SENT' })
  expect(home.sandbox.calls).toHaveLength(1)
})

test('a lock that is not granted within three seconds is STORAGE_UNAVAILABLE, by the word of the server', async () => {
  const { signatureId } = await start(app)
  await home.db.transaction().execute(async (trx) => {
    await sql`SELECT FROM signature WHERE id = ${signatureId} FOR UPDATE`.execute(trx)
    expect(await failure(app.client.abortSignature({ signatureId, reason: 1 }))).toMatchObject(unavailable)
  })
  expect(app.logs).toContainEqual(expect.objectContaining({ error: expect.objectContaining({ code: '55P03' }) }))
  await app.client.abortSignature({ signatureId, reason: 1 })
})

test('connections bring their limits with them', async () => {
  await app.client.startSignature(startRequest())
  const { rows } = await sql<{ name: string; setting: string }>`
    SELECT name, setting FROM pg_settings
    WHERE name IN ('statement_timeout', 'lock_timeout', 'idle_in_transaction_session_timeout') ORDER BY name
  `.execute(home.db)
  expect(rows.map(({ name, setting }) => `${name} ${setting}`)).toEqual([
    'idle_in_transaction_session_timeout 10000',
    'lock_timeout 3000',
    'statement_timeout 10000',
  ])
})

test('backends that an operator ends leave the process alive, and the first try afterwards is served', async () => {
  const { signatureId, code } = await start(app)
  const { rows: ended } = await sql<{ pid: number }>`
    SELECT pid, pg_terminate_backend(pid, 5000) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid()
  `.execute(home.db)
  expect(ended.length).toBeGreaterThan(1)
  await vi.waitFor(() => expect(app.logs).toContainEqual(expect.objectContaining({ msg: 'database connection lost' })))
  await app.client.startSignature(startRequest())
  await app.client.completeSignature({ signatureId, code, transaction: transaction() })
})

test('a database that falls silent is given up within seconds, whatever the caller waits, and served again afterwards', async () => {
  const { signatureId } = await start(app)
  wire.silent = true
  const startedAt = performance.now()
  expect(await failure(app.client.getSignature({ signatureId }))).toMatchObject(unavailable)
  expect(performance.now() - startedAt).toBeLessThan(20_000)
  await vi.waitFor(
    async () => expect((await fetch(`http://127.0.0.1:${app.server.adminPort}/readyz`)).status).toBe(503),
    10_000,
  )
  expect((await fetch(`http://127.0.0.1:${app.server.adminPort}/livez`)).status).toBe(200)
  wire.silent = false
  await vi.waitFor(
    async () => expect((await app.client.getSignature({ signatureId })).signature?.id).toBe(signatureId),
    {
      timeout: 20_000,
      interval: 200,
    },
  )
}, 60_000)

test('a watcher hears of changes again after its replica has lost the database in silence', async () => {
  const { signatureId, code } = await start(app)
  const watch = ({ client }: Pick<App, 'client'>) => {
    const types: string[] = []
    const ended = (async () => {
      for await (const { event } of client.watchSignature({ signatureId })) types.push(typeName(event?.type))
    })()
    return { types, ended }
  }
  const [near, far] = [watch(home), watch(app)]
  for (const { types } of [near, far]) await vi.waitFor(() => expect(types).toContain('CHALLENGE_SENT'), 10_000)
  wire.silent = true
  // The notice of it is swallowed, and with it the connection that it came on: neither side is told.
  await home.client.completeSignature({ signatureId, code, transaction: transaction() })
  await near.ended
  await vi.waitFor(() => expect(wire.dead.size).toBeGreaterThan(0), 10_000)
  expect(far.types).not.toContain('SIGNATURE_SIGNED')
  wire.silent = false
  await far.ended
  expect(far.types.at(-1)).toBe('SIGNATURE_SIGNED')
}, 60_000)
