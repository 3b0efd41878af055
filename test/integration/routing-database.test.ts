import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Code } from '@connectrpc/connect'
import { sql } from 'kysely'
import { expect, test, vi } from 'vitest'
import { Channel, PassReason, TimelineEventType } from '../../gen/bank/signature/v1/signature_pb.ts'
import { startEmbeddedPostgres } from '../../src/embedded/embedded-postgres.ts'
import { openCluster, run } from '../../src/embedded/postgres-cluster.ts'
import { type App, failure, PHONE, row, startApp, startRequest, transaction } from '../support/app.ts'
import { cutListeners, enable, forceTable, listeners, pause, publish, route } from '../support/routing.ts'

type Replica = Pick<App, 'client'>

const CHAIN = { SMS: ['vonage-sms', 'twilio-sms'] }
const NOT_READ = 'routing table not read, the last one stays'

/** Far more than the second that README promises: a test's machine may be busy. */
const SOON_MS = 10_000

test('the old table keeps ruling through a restart of the database, and new versions rule after it', async () => {
  await using database = await ownDatabase()
  await using app = await startApp({ DATABASE_URL: database.url })
  const other = await app.replica()
  const replicas = [app, other]
  const version = await publish(app, [route(1, CHAIN)])
  await pause(app, 'vonage-sms')
  await vi.waitFor(async () => expect(await obeyed(other)).toMatchObject([version, 'twilio-sms']))

  await database.stop()
  const attempts = await database.standIn()
  await vi.waitFor(() => expect(attempts()).toBeGreaterThan(20), 20_000)
  for (const { client, routing, metrics } of replicas) {
    expect(await failure(client.startSignature(startRequest()))).toMatchObject({ reason: 'STORAGE_UNAVAILABLE' })
    const page = await metrics()
    expect(page).toContain(`\nrouting_table_version ${version}\n`)
    expect(page).toContain('provider_paused{provider="vonage-sms"} 1')
    const { providers } = await routing.listProviders({})
    expect(providers.find(({ killSwitch }) => killSwitch)).toMatchObject({ name: 'vonage-sms' })
  }
  await database.restart()

  for (const replica of replicas) expect(await obeyed(replica)).toMatchObject([version, 'twilio-sms'])
  await vi.waitFor(async () => expect(await listeners(app)).toHaveLength(2), 10_000)
  expect(await untilObeyed(other, await publish(app, [route(2, { SMS: ['twilio-sms'] })]))).toBeLessThan(SOON_MS)
  for (const { logs } of replicas) expect(logs.filter(({ msg }) => msg === NOT_READ)).toHaveLength(1)
})

test('while the table can not be read the old one and the pauses rule, with one warning and not one per poll', async () => {
  await using app = await startApp()
  const other = await app.replica()
  let version = await publish(other, [route(1, CHAIN)])
  await pause(app, 'vonage-sms')

  for (const time of [1, 2]) {
    await refuseReads(app)
    expect(await obeyed(app)).toEqual([version, 'twilio-sms'])
    expect(app.logs.filter(({ msg }) => msg === NOT_READ)).toMatchObject(Array(time).fill({ level: 'warn' }))

    await sql`
      DROP VIEW provider_switch; ALTER TABLE kept RENAME TO provider_switch; DROP FUNCTION refuse; DROP SEQUENCE reads
    `.execute(app.db)
    // Once it could be read again, the next failure is news.
    version = await publish(other, [route(1 + time, CHAIN)])
    await untilObeyed(app, version)
  }
})

test('without any notice a replica obeys a new version and a pause soon, by its poll', async () => {
  await using app = await startApp()
  const other = await app.replica()
  await sql`DROP FUNCTION notify_routing CASCADE`.execute(app.db)
  for (let round = 1; round <= 3; round++) {
    expect(await untilObeyed(other, await publish(app, [route(round, CHAIN)]))).toBeLessThan(SOON_MS)
  }
  await pause(app, 'vonage-sms')
  const pausedAt = performance.now()
  while ((await obeyed(other))[1] !== 'twilio-sms');
  expect(performance.now() - pausedAt).toBeLessThan(SOON_MS)
})

test('the replica that is asked obeys as soon as it has answered, without any notice', async () => {
  await using app = await startApp()
  await sql`DROP FUNCTION notify_routing CASCADE`.execute(app.db)
  for (let round = 1; round <= 5; round++) {
    const version = await publish(app, [route(round, CHAIN)])
    expect(await obeyed(app)).toEqual([version, 'vonage-sms'])
    await pause(app, 'vonage-sms')
    expect(await obeyed(app)).toEqual([version, 'twilio-sms'])
    await enable(app, 'vonage-sms')
    expect(await obeyed(app)).toEqual([version, 'vonage-sms'])
  }
})

test('with its listener cut off right before, a replica obeys soon, and listens again', async () => {
  await using app = await startApp()
  const other = await app.replica()
  await vi.waitFor(async () => expect(await listeners(app)).toHaveLength(2))
  const before = await listeners(app)
  await cutListeners(app)

  const tookMs = await untilObeyed(other, await publish(app, [route(1, CHAIN)]))

  expect(tookMs).toBeLessThan(SOON_MS)
  await vi.waitFor(async () => {
    const again = await listeners(app)
    expect(again.filter((pid) => !before.includes(pid))).toHaveLength(2)
  }, 5_000)
  const noticed: number[] = []
  for (let round = 2; round <= 6; round++) {
    noticed.push(await untilObeyed(other, await publish(app, [route(round, CHAIN)])))
  }
  expect(noticed.toSorted((a, b) => a - b)[0]).toBeLessThan(250)
  expect([...app.logs, ...other.logs].filter(({ msg }) => msg === NOT_READ)).toEqual([])
})

test('a replica that lacks a provider of a later table goes on, says so, and passes it over', async () => {
  await using app = await startApp()
  const other = await app.replica({ VONAGE_API_KEY: '', VONAGE_API_SECRET: '', VONAGE_FROM: '' })
  const version = await publish(app, [route(1, CHAIN)])
  await untilObeyed(other, version)

  const { challenge } = await other.client.startSignature(startRequest())

  const passed = { provider: 'vonage-sms', reason: 'NOT_CONFIGURED' }
  expect(challenge).toMatchObject({
    provider: 'twilio-sms',
    passedOver: [{ ...passed, channel: Channel.SMS, reason: PassReason.NOT_CONFIGURED }],
  })
  expect(await row(app, 'challenge', challenge?.id ?? '')).toMatchObject({
    routing_table_version: version,
    passed_over: [{ ...passed, channel: 'SMS' }],
  })
  const { signature } = await other.client.getSignature({ signatureId: challenge?.signatureId ?? '' })
  expect(signature?.timeline.map(({ type }) => type)).toContain(TimelineEventType.PROVIDER_PASSED_OVER)
  expect(errors(other)).toMatchObject([
    { msg: expect.stringContaining('the route with priority 1 names "vonage-sms" for SMS; there is only') },
  ])
  expect(errors(app)).toEqual([])
  expect(await obeyed(app)).toEqual([version, 'vonage-sms'])

  await pause(other, 'twilio-sms', 45_000)
  const refused = await failure(other.client.startSignature(startRequest()))
  expect(refused).toMatchObject({ code: Code.Unavailable, metadata: { provider_error_code: 'PAUSED' } })
  expect(refused.retryDelayMs).toBeGreaterThan(40_000)
})

test('a row with none but unknown providers is UNAVAILABLE, and rules no longer than the table that names them', async () => {
  await using app = await startApp()
  await forceTable(app, 2, 'acme-sms', 'umbrella-sms')
  await vi.waitFor(async () => expect(await app.metrics()).toContain('\nrouting_table_version 2\n'))
  expect(errors(app)).toHaveLength(2)

  const refused = await failure(app.client.startSignature(startRequest()))

  expect(refused).toMatchObject({
    code: Code.Unavailable,
    reason: 'PROVIDER_UNAVAILABLE',
    metadata: { provider: 'umbrella-sms', provider_error_code: 'NOT_CONFIGURED' },
  })
  expect(await app.db.selectFrom('signature').selectAll().execute()).toEqual([])
  const { providers } = await app.routing.explainRoute({ phoneNumber: PHONE, transaction: transaction() })
  expect(providers.map(({ passReason }) => passReason)).toEqual([PassReason.NOT_CONFIGURED, PassReason.NOT_CONFIGURED])
  const version = await publish(app, [route(1, CHAIN)])
  expect(await obeyed(app)).toEqual([version, 'vonage-sms'])
})

/** A PostgreSQL of its own that can be stopped and started again on its port. */
async function ownDatabase() {
  const dataDir = await mkdtemp(join(tmpdir(), 'routing-database-'))
  const postgres = await startEmbeddedPostgres({ dataDir })
  const cluster = await openCluster(dataDir)
  const pgCtl = (command: string, ...options: string[]) =>
    run(cluster, cluster.bin.pg_ctl, [command, '--wait', '--silent', `--pgdata=${cluster.dir}`, ...options])
  const inItsPlace = createServer((socket) => {
    attempts += 1
    socket.destroy()
  })
  let attempts = 0
  return {
    url: postgres.url,
    stop: () => pgCtl('stop', '--mode=fast'),
    /** Refuses connections in its place while it is stopped, and counts them. */
    async standIn() {
      await once(inItsPlace.listen(Number(new URL(postgres.url).port), '127.0.0.1'), 'listening')
      return () => attempts
    },
    async restart() {
      await new Promise((resolve) => inItsPlace.close(resolve))
      await pgCtl('restart', `--log=${join(dataDir, 'postgres.log')}`)
    },
    async [Symbol.asyncDispose]() {
      await postgres[Symbol.asyncDispose]()
      await rm(dataDir, { recursive: true })
    },
  }
}

/** Makes every reading of the switches fail, and waits until that has happened to both replicas a few times. */
async function refuseReads({ db }: Pick<App, 'db'>): Promise<void> {
  await sql`
    CREATE SEQUENCE reads;
    CREATE FUNCTION refuse() RETURNS boolean LANGUAGE plpgsql AS
      $$ BEGIN PERFORM nextval('reads'); RAISE 'not to be read'; END $$;
    ALTER TABLE provider_switch RENAME TO kept;
    CREATE VIEW provider_switch AS SELECT * FROM kept WHERE refuse();
  `.execute(db)
  await vi.waitFor(async () => {
    const { rows } = await sql<{ reads: number }>`SELECT last_value::int AS reads FROM reads`.execute(db)
    expect(rows[0]?.reads).toBeGreaterThan(6)
  }, 10_000)
}

/** The version and the provider that a start on this replica is served by. */
async function obeyed({ client }: Replica): Promise<[version: number | undefined, provider: string | undefined]> {
  const { challenge } = await client.startSignature(startRequest())
  return [challenge?.routingTableVersion, challenge?.provider]
}

/** How long until a start on this replica obeys a version, in milliseconds. */
async function untilObeyed(replica: Replica, version: number): Promise<number> {
  const startedAt = performance.now()
  while ((await obeyed(replica))[0] !== version);
  return performance.now() - startedAt
}

function errors({ logs }: Pick<App, 'logs'>) {
  return logs.filter(({ level }) => level === 'error')
}
