import { randomUUID } from 'node:crypto'
import { readdirSync } from 'node:fs'
import { basename, join } from 'node:path'
import { sql } from 'kysely'
import { Client } from 'pg'
import { afterAll, beforeAll, expect, inject, test, vi } from 'vitest'
import { ChallengeStatus, Channel } from '../../gen/bank/signature/v1/signature_pb.ts'
import { type Db, openDatabase } from '../../src/db/database.ts'
import { migrate } from '../../src/db/migrations.ts'
import { failure, start, startApp, transaction } from '../support/app.ts'
import { createDatabase } from '../support/database.ts'
import { forceTable, publish, route } from '../support/routing.ts'
import { useWholeService } from '../support/whole-service.ts'

const MIGRATIONS = readdirSync(join(import.meta.dirname, '../../migrations'))
  .map((file) => basename(file, '.ts'))
  .toSorted()

const open = new AsyncDisposableStack()
/** Migrated, and never migrated again by a test. */
let current: Db
beforeAll(async () => {
  current = await database('migrated')
})
afterAll(() => open.disposeAsync())

test('down to nothing and up again leaves the same schema', async () => {
  const db = await database('migrated')
  const before = await catalog(db)
  expect(before).toContain('column challenge.code_hmac bytea NOT NULL')

  const down: string[] = []
  for (let names = await migrate(db, 'down'); names.length > 0; names = await migrate(db, 'down')) down.push(...names)
  expect(down).toEqual(MIGRATIONS.toReversed())
  expect(await catalog(db)).toEqual([])

  expect(await migrate(db, 'up')).toEqual(MIGRATIONS)
  expect(await catalog(db)).toEqual(before)
})

test('a fresh database gets every migration, a current one none', async () => {
  const fresh = await database('template0')
  expect(await migrate(fresh, 'up')).toEqual(MIGRATIONS)
  expect(await migrate(fresh, 'up')).toEqual([])
  expect(await catalog(fresh)).toEqual(await catalog(current))
})

test('a schema that a newer version has brought further is left as it is', async () => {
  const db = await database('migrated')
  await sql`INSERT INTO kysely_migration (name, timestamp) VALUES ('9999_of_a_newer_version', '')`.execute(db)
  expect(await migrate(db, 'up')).toEqual([])
})

test("another application's migrations, in a schema of its own, are none of ours", async () => {
  for (const copyOf of ['migrated', 'template0']) {
    const db = await database(copyOf)
    await sql`CREATE SCHEMA another`.execute(db)
    await sql`CREATE TABLE another.kysely_migration (name text PRIMARY KEY, timestamp text NOT NULL)`.execute(db)
    await sql`INSERT INTO another.kysely_migration VALUES ('0001_of_another', '2026-01-01')`.execute(db)
    expect(await migrate(db, 'up')).toEqual(copyOf === 'migrated' ? [] : MIGRATIONS)
    expect(await migrate(db, 'down')).toEqual([MIGRATIONS.at(-1)])
    expect(await migrate(db, 'up')).toEqual([MIGRATIONS.at(-1)])
  }
})

test("where another application's migrations are in public, ours go into the schema of the search path", async () => {
  const url = await createDatabase(inject('postgresUrl'), randomUUID(), 'template0')
  const { db } = open.use(openDatabase(url))
  await sql`CREATE TABLE kysely_migration (name text PRIMARY KEY, timestamp text NOT NULL)`.execute(db)
  await sql`INSERT INTO kysely_migration VALUES ('0001_of_another', '2026-01-01')`.execute(db)
  await sql`CREATE SCHEMA ours`.execute(db)
  const ours = open.use(openDatabase(`${url}?options=-c%20search_path%3Dours,public`)).db
  expect(await migrate(ours, 'up')).toEqual(MIGRATIONS)
  expect(await migrate(ours, 'up')).toEqual([])
  await using app = await startApp({ DATABASE_URL: `${url}?options=-c%20search_path%3Dours,public` })
  await start(app)
})

test('a search path without a schema that there is says so', async () => {
  const url = await createDatabase(inject('postgresUrl'), randomUUID(), 'template0')
  const { db } = open.use(openDatabase(`${url}?options=-c%20search_path%3Dmissing`))
  await expect(migrate(db, 'up')).rejects.toThrow("DATABASE_URL: no schema in the role's search_path")
})

test('a role that may not change the schema can start on a migrated one, and do everything', async () => {
  await using home = await startApp()
  const role = `router_${randomUUID().slice(0, 8)}`
  await sql`CREATE ROLE ${sql.id(role)} LOGIN PASSWORD 'without-ddl'`.execute(home.db)
  await sql`REVOKE CREATE ON SCHEMA public FROM PUBLIC`.execute(home.db)
  await sql`GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO ${sql.id(role)}`.execute(home.db)
  const url = Object.assign(new URL(home.env.DATABASE_URL ?? ''), { username: role, password: 'without-ddl' }).href
  const app = await home.replica({ DATABASE_URL: url })
  await useWholeService(app)
  const { db } = open.use(openDatabase(url))
  await expect(migrate(db, 'down')).rejects.toMatchObject({ code: '42501' })
})

test('migrations leave one version of the routing table, with one route, for text messages over Twilio', async () => {
  expect(await current.selectFrom('routing_table').selectAll().execute()).toEqual([
    {
      version: 1,
      author: 'migration',
      reason: 'the rows in force before tables had versions',
      published_at: expect.any(Date),
      routes: [oldRoute(1000)],
    },
  ])
})

test('the rows in force become the first version of the table, in order, and those that were disabled are gone', async () => {
  const db = await database('migrated')
  await downTo(db, '0002_add_challenge_fields')
  const rows = [
    { priority: 300, calling_prefix: '+346', transaction_type: 'CARD' },
    { priority: 200, currency: 'EUR', min_amount: '0.01', max_amount: '999999999999999999.999999999' },
    { priority: 100, currency: 'KWD', max_amount: '1.001', channel: 'VOICE', provider: 'twilio-voice' },
    { priority: 150, currency: 'JPY' },
    { priority: 160, currency: 'USD', min_amount: '1000' },
    { priority: 50, enabled: false },
  ]
  for (const row of rows) await insert(db, 'route', { channel: 'SMS', provider: 'twilio-sms', ...row })

  await migrate(db, 'up')

  const amount = (currency: string, min: string | null, max: string | null) => ({ amount: { currency, min, max } })
  expect(await db.selectFrom('routing_table').select(['version', 'author', 'routes']).execute()).toEqual([
    {
      version: 1,
      author: 'migration',
      routes: [
        oldRoute(100, amount('KWD', null, '1.001'), 'VOICE', 'twilio-voice'),
        oldRoute(150, amount('JPY', null, null)),
        oldRoute(160, amount('USD', '1000', null)),
        oldRoute(200, amount('EUR', '0.01', '999999999999999999.999999999')),
        oldRoute(300, { callingPrefix: '+346', transactionType: 'CARD' }),
        oldRoute(1000),
      ],
    },
  ])
})

test('where no row was in force, the first version of the table has none', async () => {
  const db = await database('migrated')
  await downTo(db, '0002_add_challenge_fields')
  await sql`UPDATE route SET enabled = false`.execute(db)
  await migrate(db, 'up')
  expect(await db.selectFrom('routing_table').select(['version', 'routes']).execute()).toEqual([
    { version: 1, routes: [] },
  ])
})

test('taking version_the_routing_table back keeps the rows in force that the old table can hold, and no others', async () => {
  await using app = await startApp()
  await publish(app, [route(1, { SMS: ['vonage-sms'] })])
  const kept = [
    route(10, { SMS: ['twilio-sms', 'vonage-sms'] }, { callingPrefix: '+346', transactionType: 'CARD' }),
    route(20, { VOICE: ['twilio-voice'], SMS: ['twilio-sms'] }, { amount: { currencyCode: 'EUR', min: '0.01' } }),
    route(30, { SMS: ['vonage-sms'] }, { amount: { currencyCode: 'KWD', max: '1.001' } }),
    route(90, { SMS: ['twilio-sms'] }),
  ]
  const timeWindow = { start: '22:00', end: '06:00', timeZone: 'Europe/Madrid' }
  const left = [
    route(1, { PUSH: ['fcm-push'] }, { channel: Channel.PUSH }),
    route(2, { SMS: ['twilio-sms'] }, { country: 'FR' }),
    route(3, { SMS: ['twilio-sms'] }, { customerSegment: 'BUSINESS' }),
    route(4, { SMS: ['twilio-sms'] }, { timeWindow }),
  ]
  await publish(app, [...left, ...kept])

  await downTo(app.db, '0002_add_challenge_fields')

  const nothing = { calling_prefix: null, transaction_type: null, currency: null, min_amount: null, max_amount: null }
  const row = (priority: number, provider: string, fields = {}) => ({
    ...{ id: expect.any(String), priority, channel: 'SMS', provider, enabled: true, ...nothing },
    ...fields,
  })
  expect((await sql`SELECT * FROM route ORDER BY priority`.execute(app.db)).rows).toEqual([
    row(10, 'twilio-sms', { calling_prefix: '+346', transaction_type: 'CARD' }),
    row(20, 'twilio-voice', { channel: 'VOICE', currency: 'EUR', min_amount: '0.010000000' }),
    row(30, 'vonage-sms', { currency: 'KWD', max_amount: '1.001000000' }),
    row(90, 'twilio-sms'),
  ])

  await migrate(app.db, 'up')
  expect(await app.db.selectFrom('routing_table').select(['version', 'routes']).execute()).toEqual([
    {
      version: 1,
      routes: [
        oldRoute(10, { callingPrefix: '+346', transactionType: 'CARD' }),
        oldRoute(20, { amount: { currency: 'EUR', min: '0.01', max: null } }, 'VOICE', 'twilio-voice'),
        oldRoute(30, { amount: { currency: 'KWD', min: null, max: '1.001' } }, 'SMS', 'vonage-sms'),
        oldRoute(90),
      ],
    },
  ])
})

test('attempts without an outcome and leases given back survive taking recover_deliveries back, and coming again', async () => {
  const db = await database('migrated')
  await downTo(db, '0005_recover_deliveries')
  const signature = await insertSignature(db)
  const id = randomUUID()
  await insertChallenge(db, signature.id, { id, lease_expires_at: null, ...CODE_FIELDS })
  await insert(db, 'attempt', { challenge_id: id, number: 1, started_at: '2026-01-01T00:00:01Z' })

  expect(await migrate(db, 'down')).toEqual(['0005_recover_deliveries'])
  const attempts = () => db.selectFrom('attempt').selectAll().execute()
  expect(await attempts()).toMatchObject([{ outcome: 'unknown', ended_at: new Date('2026-01-01T00:00:01Z') }])
  expect(await db.selectFrom('challenge').select('lease_expires_at').execute()).toEqual([
    { lease_expires_at: new Date('2026-01-01T00:00:00Z') },
  ])
  // What the version before writes is taken as it is.
  await insert(db, 'attempt', {
    challenge_id: id,
    number: 2,
    outcome: 'sent',
    started_at: new Date(),
    ended_at: new Date(),
  })
  expect(await migrate(db, 'up')).toContain('0005_recover_deliveries')
  expect(await attempts()).toHaveLength(2)
})

test('index_lists notes the providers that were used before it, and those that the version before uses after it', async () => {
  const db = await database('migrated')
  await downTo(db, '0005_recover_deliveries')
  const { id } = await insertSignature(db)
  const used = async (provider: string) => insertChallenge(db, id, { ...CODE_FIELDS, provider, status: 'CANCELLED' })
  for (const provider of ['twilio-sms', 'vonage-sms', 'twilio-sms']) await used(provider)
  await migrate(db, 'up')
  for (const provider of ['vonage-sms', 'twilio-voice']) await used(provider)
  await sql`UPDATE signature SET status = 'ABORTED', completed_at = now() WHERE id = ${id}`.execute(db)

  const { rows } = await sql`
    SELECT provider, listed.status, listed.caller = signature.caller AND listed.created_at = signature.created_at
      AND listed.expires_at = signature.expires_at AS same
    FROM signature_provider listed JOIN signature ON signature.id = signature_id ORDER BY provider
  `.execute(db)
  expect(rows).toEqual([
    { provider: 'twilio-sms', status: 'ABORTED', same: true },
    { provider: 'twilio-voice', status: 'ABORTED', same: true },
    { provider: 'vonage-sms', status: 'ABORTED', same: true },
  ])
})

test('signatures and challenges survive version_the_routing_table, back and forth', async () => {
  await using app = await startApp()
  const { signatureId, challengeId, code } = await start(app)
  await downTo(app.db, '0002_add_challenge_fields')
  await migrate(app.db, 'up')

  const { challenge } = await app.client.getChallenge({ challengeId })
  expect(challenge).toMatchObject({ status: ChallengeStatus.SENT, routingTableVersion: 0, passedOver: [] })
  await app.client.completeSignature({ signatureId, code, transaction: transaction() })
})

test('whoever listens is told of every change to tables and switches, also of one by hand', async () => {
  await using app = await startApp()
  const listener = new Client(app.env.DATABASE_URL)
  const told: string[] = []
  listener.on('notification', ({ channel }) => told.push(channel))
  await listener.connect()
  try {
    await listener.query('LISTEN routing')
    await forceTable(app, 2, 'twilio-sms')
    await vi.waitFor(() => expect(told).toEqual(['routing']))
    await insert(app.db, 'provider_switch', { provider: 'twilio-sms', author: 'nobody', reason: 'for a test' })
    await vi.waitFor(() => expect(told).toEqual(['routing', 'routing']))
    await sql`DELETE FROM provider_switch`.execute(app.db)
    await vi.waitFor(() => expect(told).toHaveLength(3))
    await sql`UPDATE routing_table SET reason = 'another' WHERE version = 2`.execute(app.db)
    await vi.waitFor(() => expect(told).toHaveLength(4))
  } finally {
    await listener.end()
  }
})

test('processes that migrate a fresh database at once all succeed, and each migration ran once', async () => {
  for (let round = 0; round < 5; round++) {
    const url = await createDatabase(inject('postgresUrl'), randomUUID(), 'template0')
    const pools = Array.from({ length: 3 }, () => open.use(openDatabase(url)))

    const ran = await Promise.all(pools.map((pool) => migrate(pool.db, 'up')))

    expect(ran.flat().toSorted()).toEqual(MIGRATIONS)
    expect(await catalog(open.use(openDatabase(url)).db)).toEqual(await catalog(current))
  }
})

test("add_challenge_fields gives challenges from before it their signature's expiry and no code", async () => {
  const db = await database('migrated')
  await downTo(db, '0001_create_signature_tables')
  const old = [await insertSignature(db), await insertSignature(db, { expires_at: '2030-01-02T03:04:05.678Z' })]
  for (const signature of old) await insertChallenge(db, signature.id)
  const rowsBefore = await challenges(db)
  expect(rowsBefore.flatMap(Object.keys)).not.toContain('code_hmac')

  await migrate(db, 'up')

  const rows = await challenges(db)
  expect(rows).toMatchObject(
    rowsBefore.map((row) => ({
      ...row,
      code_hmac: Buffer.alloc(0),
      code_key_id: '',
      expires_at: old.find(({ id }) => id === row.signature_id)?.expires_at,
    })),
  )
  const columns = (await catalog(db)).filter((line) => /challenge\.(code_|expires_at)/.test(line))
  expect(columns).toEqual([
    'column challenge.code_hmac bytea NOT NULL',
    'column challenge.code_key_id text NOT NULL',
    'column challenge.expires_at timestamp with time zone NOT NULL',
  ])
})

test('a challenge from before add_challenge_fields is still served: every code for it is wrong', async () => {
  await using app = await startApp()
  const { signatureId, challengeId, code } = await start(app)
  await downTo(app.db, '0001_create_signature_tables')
  await migrate(app.db, 'up')

  const { challenge } = await app.client.getChallenge({ challengeId })
  expect(challenge).toMatchObject({ status: ChallengeStatus.SENT, triesRemaining: 3 })
  for (const left of ['2', '1', '0']) {
    const refused = await failure(app.client.completeSignature({ signatureId, code, transaction: transaction() }))
    expect(refused).toMatchObject({ reason: 'CODE_REJECTED', metadata: { tries_remaining: left } })
  }
})

test('taking add_challenge_fields back drops its columns and keeps the rows', async () => {
  const db = await database('migrated')
  const { id } = await insertSignature(db)
  await insertChallenge(db, id, CODE_FIELDS)
  const [before = {}] = await challenges(db)

  await downTo(db, '0001_create_signature_tables')

  const { code_hmac, code_key_id, expires_at, ...kept } = before
  expect([code_hmac, code_key_id, expires_at]).not.toContain(undefined)
  const rows = await challenges(db)
  expect(rows).toMatchObject([{ id: kept.id, signature_id: id, status: 'PENDING', tries_used: 0 }])
  expect(rows.flatMap(Object.keys)).not.toContain('code_hmac')

  await migrate(db, 'up')
  expect(await challenges(db)).toMatchObject([{ ...kept, code_key_id: '' }])
})

test.each<[string, string, Record<string, unknown>]>([
  ['an unknown status', 'signature_status_check', { status: 'DONE', completed_at: '2026-01-01' }],
  ['a final status without its time', 'signature_completed_when_final', { status: 'SIGNED' }],
  ['a time of its end while pending', 'signature_completed_when_final', { completed_at: '2026-01-01' }],
  ['an amount of zero', 'signature_amount_check', { amount: 0 }],
  ['an amount below zero', 'signature_amount_check', { amount: -1 }],
])('a signature with %s is refused', async (_, constraint, fields) => {
  await expect(insertSignature(current, fields)).rejects.toMatchObject({ code: '23514', constraint })
})

test.each<[string, string, Record<string, unknown>]>([
  ['an unknown status', 'challenge_status_check', { status: 'DONE' }],
  ['an unknown channel', 'challenge_channel_check', { channel: 'FAX' }],
  ['an unknown delivery status', 'challenge_delivery_status_check', { delivery_status: 'LOST' }],
  ['more tries than it has', 'challenge_tries', { tries_used: 4 }],
  ['fewer tries than none', 'challenge_tries', { tries_used: -1 }],
  ['a failure without a reason', 'challenge_failed_with_reason', { status: 'FAILED' }],
  ['a reason without a failure', 'challenge_failed_with_reason', { failure_reason: 'TRIES_EXHAUSTED' }],
  ['a message sent without its proof', 'challenge_sent_with_proof', { status: 'SENT', sent_at: '2026-01-01' }],
  ['a message sent without its time', 'challenge_sent_with_proof', { status: 'SENT', provider_proof: '{}' }],
])('a challenge with %s is refused', async (_, constraint, fields) => {
  const { id } = await insertSignature(current)
  await expect(insertChallenge(current, id, { ...CODE_FIELDS, ...fields })).rejects.toMatchObject({
    code: '23514',
    constraint,
  })
})

test('a signature keeps at most one open challenge', async () => {
  const { id } = await insertSignature(current)
  await insertChallenge(current, id, { ...CODE_FIELDS, status: 'FAILED', failure_reason: 'PROVIDER_UNAVAILABLE' })
  await insertChallenge(current, id, CODE_FIELDS)

  await expect(insertChallenge(current, id, CODE_FIELDS)).rejects.toMatchObject({ constraint: 'challenge_one_open' })
  const sent = { ...CODE_FIELDS, status: 'SENT', sent_at: '2026-01-01', provider_proof: '{}' }
  await expect(insertChallenge(current, id, sent)).rejects.toMatchObject({ constraint: 'challenge_one_open' })
  await insertChallenge(current, id, { ...CODE_FIELDS, status: 'CANCELLED' })
})

test('a key belongs to one signature of its caller, and may be used by another caller', async () => {
  const [first, second] = [await insertSignature(current), await insertSignature(current)]
  const claim = (caller: string, signatureId: string) =>
    insert(current, 'idempotency_key', {
      caller,
      key: 'order-1',
      fingerprint: Buffer.from('x'),
      signature_id: signatureId,
    })
  await claim('payments', first.id)

  await expect(claim('payments', second.id)).rejects.toMatchObject({ constraint: 'idempotency_key_pkey' })
  await claim('cards', second.id)
  await expect(claim('mandates', randomUUID())).rejects.toMatchObject({ constraint: 'idempotency_key_signature_fkey' })
})

test('a place in a timeline is taken once', async () => {
  const { id } = await insertSignature(current)
  const event = { signature_id: id, position: 1, type: 'SIGNATURE_STARTED', details: '{}' }
  await insert(current, 'timeline', event)
  await expect(insert(current, 'timeline', event)).rejects.toMatchObject({ constraint: 'timeline_pkey' })
})

test.each<[string, string, Record<string, unknown>]>([
  ['a number that another has', 'routing_table_pkey', { version: 1 }],
  ['a number below 1', 'routing_table_version_check', { version: 0 }],
])('a version of the routing table with %s is refused', async (_, constraint, fields) => {
  const table = { author: 'nobody', reason: 'for a test', routes: '[]', ...fields }
  await expect(insert(current, 'routing_table', table)).rejects.toMatchObject({ constraint })
})

test('a push token is kept together with the key that it is sealed with, or not at all', async () => {
  const fields = { push_token_ciphertext: Buffer.from('sealed') }
  await expect(insertSignature(current, fields)).rejects.toMatchObject({ constraint: 'signature_push_token_key' })
  await insertSignature(current, { ...fields, push_token_key_id: 'p1' })
})

test('a challenge names a version of the routing table that there is', async () => {
  const { id } = await insertSignature(current)
  await expect(insertChallenge(current, id, { ...CODE_FIELDS, routing_table_version: 99 })).rejects.toMatchObject({
    constraint: 'challenge_routing_table_version_fkey',
  })
  await insertChallenge(current, id, { ...CODE_FIELDS, routing_table_version: 1 })
})

/** A route as the first version of the table has it. */
function oldRoute(priority: number, match: object = {}, channel = 'SMS', provider = 'twilio-sms') {
  const nothing = { channel: null, country: null, callingPrefix: null, transactionType: null, customerSegment: null }
  return {
    priority,
    match: { ...nothing, amount: null, timeWindow: null, ...match },
    channels: [{ channel, providers: [{ provider, weight: 1 }] }],
  }
}

async function database(copyOf: string): Promise<Db> {
  return open.use(openDatabase(await createDatabase(inject('postgresUrl'), randomUUID(), copyOf))).db
}

/** Takes migrations back until this one is the last. */
async function downTo(of: Db, last: string): Promise<void> {
  for (const name of MIGRATIONS.slice(MIGRATIONS.indexOf(last) + 1).toReversed()) {
    expect(await migrate(of, 'down')).toEqual([name])
  }
}

test('a signature from before add_country has no country and is still served', async () => {
  await using app = await startApp()
  const { signatureId, challengeId } = await start(app)
  await downTo(app.db, '0009_index_lists')
  await migrate(app.db, 'up')

  const { rows } = await sql`SELECT country FROM signature WHERE id = ${signatureId}`.execute(app.db)
  expect(rows).toEqual([{ country: null }])
  const { challenge } = await app.client.getChallenge({ challengeId })
  expect(challenge).toMatchObject({ status: ChallengeStatus.SENT })
})

/** Every table with its columns, constraints and indexes, as PostgreSQL's catalog has them; without the migrator's own. */
async function catalog(of: Db): Promise<string[]> {
  const { rows } = await sql<{ line: string }>`
    WITH ours AS (
      SELECT oid, relname, relkind::text FROM pg_class
      WHERE relnamespace = 'public'::regnamespace AND relname NOT LIKE 'kysely_%'
    )
    SELECT 'column ' || relname || '.' || attname || ' ' || format_type(atttypid, atttypmod)
      || CASE WHEN attnotnull THEN ' NOT NULL' ELSE '' END
      || coalesce(' DEFAULT ' || pg_get_expr(adbin, adrelid), '') AS line
    FROM ours
    JOIN pg_attribute ON attrelid = ours.oid AND attnum > 0 AND NOT attisdropped
    LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
    WHERE relkind IN ('r', 'p')
    UNION ALL
    SELECT 'constraint ' || relname || '.' || conname || ' ' || pg_get_constraintdef(pg_constraint.oid)
    FROM ours JOIN pg_constraint ON conrelid = ours.oid
    UNION ALL
    SELECT pg_get_indexdef(oid) FROM ours WHERE relkind = 'i'
    UNION ALL
    SELECT 'other ' || relkind || ' ' || relname FROM ours WHERE relkind NOT IN ('r', 'p', 'i')
    UNION ALL
    SELECT 'trigger ' || pg_get_triggerdef(pg_trigger.oid)
    FROM ours JOIN pg_trigger ON tgrelid = ours.oid AND NOT tgisinternal
    UNION ALL
    SELECT 'function ' || pg_get_functiondef(oid) FROM pg_proc WHERE pronamespace = 'public'::regnamespace
    UNION ALL
    SELECT 'type ' || typname FROM pg_type
    WHERE typnamespace = 'public'::regnamespace AND typtype IN ('e', 'd')
    ORDER BY line
  `.execute(of)
  return rows.map(({ line }) => line)
}

const CODE_FIELDS = { code_hmac: Buffer.from('hmac'), code_key_id: 'k1', expires_at: '2026-01-01T00:05:00Z' }

async function insertSignature(
  of: Db,
  fields: Record<string, unknown> = {},
): Promise<{ id: string; expires_at: Date }> {
  const signature = {
    id: randomUUID(),
    caller: 'anonymous',
    status: 'PENDING',
    customer_hmac: Buffer.from('customer'),
    phone_hmac: Buffer.from('phone'),
    phone_ciphertext: Buffer.from('sealed'),
    phone_key_id: 'p1',
    phone_masked: '+34*****222',
    locale: 'en',
    amount: '125.5',
    currency: 'EUR',
    payee_name: 'ACME Ltd',
    payee_account: 'ES9121000418450200051332',
    transaction_type: '',
    reference: '',
    transaction_digest: Buffer.from('digest'),
    created_at: '2026-01-01T00:00:00Z',
    expires_at: '2026-01-01T00:05:00Z',
    ...fields,
  }
  await insert(of, 'signature', signature)
  return { id: signature.id, expires_at: new Date(signature.expires_at) }
}

async function insertChallenge(of: Db, signatureId: string, fields: Record<string, unknown> = {}): Promise<void> {
  await insert(of, 'challenge', {
    id: randomUUID(),
    signature_id: signatureId,
    channel: 'SMS',
    provider: 'twilio-sms',
    route: '{"priority":1000}',
    status: 'PENDING',
    lease_expires_at: '2026-01-01T00:00:20Z',
    max_tries: 3,
    created_at: '2026-01-01T00:00:00Z',
    ...fields,
  })
}

/** Past the schema's types, so that rows can be wrong or of another version. */
async function insert(of: Db, table: string, row: Record<string, unknown>): Promise<void> {
  await sql`
    INSERT INTO ${sql.table(table)} (${sql.join(Object.keys(row).map((column) => sql.ref(column)))})
    VALUES (${sql.join(Object.values(row))})
  `.execute(of)
}

async function challenges(of: Db): Promise<Record<string, unknown>[]> {
  return (await sql<Record<string, unknown>>`SELECT * FROM challenge ORDER BY id`.execute(of)).rows
}
