import { execFile } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { type AddressInfo, createServer } from 'node:net'
import { networkInterfaces, tmpdir } from 'node:os'
import { promisify } from 'node:util'
import { Code, createClient } from '@connectrpc/connect'
import { createGrpcTransport } from '@connectrpc/connect-node'
import { sql } from 'kysely'
import { afterAll, expect, test, vi } from 'vitest'
import { ChallengeStatus, DeliveryStatus, SignatureService } from '../../gen/bank/signature/v1/signature_pb.ts'
import { Health, HealthCheckResponse_ServingStatus as Status } from '../../gen/health/v1/health_pb.ts'
import { openDatabase } from '../../src/db/database.ts'
import { failure, startRequest } from '../support/app.ts'
import { startFakeVault } from '../support/fake-vault.ts'
import { forceTable } from '../support/routing.ts'
import {
  connect,
  get,
  killLeftovers,
  ownDatabase,
  PATH,
  PORTS,
  ROOT,
  run,
  sandboxMessages,
  serve,
  startSlowly,
} from '../support/service-process.ts'

afterAll(killLeftovers)

test.concurrent('it says where it listens, to people on standard error and to machines in the log', async () => {
  await using service = await serve(await ownDatabase())
  const { grpcUrl, http, admin, sandbox, listening } = service

  expect(listening).toMatchObject({ level: 'info', msg: 'listening', sandbox_url: sandbox })
  expect(grpcUrl).toBe(`http://127.0.0.1:${listening.grpc_port}`)
  expect(http).toBe(`http://127.0.0.1:${listening.http_port}`)
  expect(admin).toBe(`http://127.0.0.1:${listening.admin_port}`)
  for (const page of ['/metrics', '/livez', '/readyz']) expect(await get(`${admin}${page}`)).toBe(200)
  expect(await sandboxMessages(sandbox)).toEqual([])
  await expect(connect(grpcUrl).getSignature({ signatureId: randomUUID() })).rejects.toMatchObject({
    code: Code.NotFound,
  })
})

const loopbacks = Object.values(networkInterfaces()).flatMap((addresses) => addresses ?? [])
const hosts = ['127.0.0.1', '::1'].filter((host) => loopbacks.some(({ address }) => address === host))

test.concurrent.for(hosts)(
  'the printed line starts a signature when it is pasted into a shell (on %s)',
  async (HOST) => {
    await using service = await serve({ ...(await ownDatabase()), HOST })

    const shell = { cwd: ROOT, env: { PATH, HOME: tmpdir(), npm_config_offline: 'true' } }
    const { stdout } = await promisify(execFile)('sh', ['-c', service.command], shell)

    const answer = JSON.parse(stdout)
    expect(answer).toMatchObject({
      signature: { status: 'SIGNATURE_STATUS_PENDING', transaction: { amount: { currencyCode: 'EUR', units: '125' } } },
      challenge: { status: 'CHALLENGE_STATUS_SENT', maskedPhoneNumber: '+34*****222' },
    })
    expect((await sandboxMessages(service.sandbox)).map(({ sid }) => sid)).toEqual([
      answer.challenge.providerChallengeId,
    ])
  },
)

test.concurrent('the sandbox shows codes on loopback only, wherever the service listens, and its receipts arrive', async () => {
  await using service = await serve({ ...(await ownDatabase()), HOST: '0.0.0.0' })
  expect(service.sandbox).toMatch(/^http:\/\/127\.0\.0\.1:\d+$/)
  const client = connect(service.grpcUrl)
  const { challenge } = await client.startSignature(startRequest())
  await vi.waitFor(async () => {
    const { challenge: now } = await client.getChallenge({ challengeId: challenge?.id ?? '' })
    expect(now?.deliveryStatus).toBe(DeliveryStatus.DELIVERED)
  }, 10_000)
})

test.concurrent.for(['SIGTERM', 'SIGINT'] as const)(
  'on %s it says it is not serving, refuses new calls, lets those under way end well, and exits with 0',
  async (signal) => {
    const env = await ownDatabase()
    await using service = await serve(env)
    const health = createClient(Health, createGrpcTransport({ baseUrl: service.grpcUrl }))
    const updates = health.watch({ service: SignatureService.typeName })[Symbol.asyncIterator]()
    expect((await updates.next()).value).toMatchObject({ status: Status.SERVING })
    const calls = await startSlowly(service, env.DATABASE_URL, 20)

    const signalledMs = performance.now()
    service.child.kill(signal)

    expect((await updates.next()).value).toMatchObject({ status: Status.NOT_SERVING })
    expect(await failure(connect(service.grpcUrl).startSignature(startRequest()))).toMatchObject({
      code: Code.Unavailable,
    })
    expect(await get(`${service.admin}/readyz`)).toBe(503)
    expect(await get(`${service.admin}/livez`)).toBe(200)
    for (const { challenge } of await Promise.all(calls)) {
      expect(challenge).toMatchObject({ status: ChallengeStatus.SENT })
    }
    const { code, stdout, stderr } = await service.ended
    expect({ code, afterUsage: stderr.split(service.command)[1] }).toEqual({ code: 0, afterUsage: '\n\n' })
    expect(performance.now() - signalledMs).toBeLessThan(20_000)

    await using database = openDatabase(env.DATABASE_URL)
    const { rows } = await sql`SELECT status, count(*)::int FROM challenge GROUP BY status`.execute(database.db)
    expect(rows).toEqual([{ status: 'SENT', count: 20 }])
    const lines = stdout.trimEnd().split('\n')
    expect(lines.filter((line) => JSON.parse(line).msg === 'challenge sent')).toHaveLength(20)
    expect(stdout + stderr.replace(service.command, '')).not.toContain('600111222')
  },
)

test.concurrent('the same signal again, as a terminal and npm send it, does not cut the stop short', async () => {
  const env = await ownDatabase()
  await using service = await serve(env)
  const [call] = await startSlowly(service, env.DATABASE_URL, 1)

  service.child.kill('SIGINT')
  await vi.waitFor(async () => expect(await get(`${service.admin}/readyz`)).toBe(503))
  service.child.kill('SIGINT')

  expect(await call).toMatchObject({ challenge: { status: ChallengeStatus.SENT } })
  expect(await service.ended).toMatchObject({ code: 0 })
})

test.concurrent('a signal while it still reads its secrets ends it at once, with 0 and without a word', async () => {
  await using vault = await startFakeVault()
  vault.mode = 'hang'
  await using service = run([], { ...PORTS, SECRETS_SOURCE: 'vault', VAULT_ADDR: vault.url, VAULT_TOKEN: vault.token })
  await vi.waitFor(() => expect(vault.requests).not.toEqual([]), 10_000)

  const signalledMs = performance.now()
  service.child.kill('SIGTERM')
  expect(await service.ended).toEqual({ code: 0, signal: null, stdout: '', stderr: '' })
  // It would wait 5 s for an answer.
  expect(performance.now() - signalledMs).toBeLessThan(4_500)
})

test.concurrent('with wrong settings it exits with 1 and names them all, and none of their values', async () => {
  await using service = run([], {
    ...PORTS,
    HTTP_PORT: 'canary-port',
    LOG_LEVEL: 'canary-level',
    DATABASE_URL: 'mysql://bank:canary-password@db/signatures',
    TWILIO_ACCOUNT_SID: 'canary-sid',
    TWILIO_AUTH_TOKEN: 'canary token',
    CODE_KEYS: 'k1:canary-key',
    INDEX_KEY: 'canary-index-key',
  })
  const { code, stdout, stderr } = await service.ended

  expect(code).toBe(1)
  expect(stdout).toBe('')
  const lines = stderr.trimEnd().split('\n')
  expect(lines.map((line) => line.replace(/:.*/, '')).sort()).toEqual([
    'CODE_KEYS',
    'DATABASE_URL',
    'HTTP_PORT',
    'INDEX_KEY',
    'LOG_LEVEL',
    'PII_KEYS',
    'TWILIO_ACCOUNT_SID',
    'TWILIO_AUTH_TOKEN',
    'TWILIO_FROM_NUMBER',
  ])
  expect(stderr).not.toContain('canary')
})

test.concurrent('without its database it exits with 1 and says why, without the password', async () => {
  const DATABASE_URL = 'postgres://bank:canary-password@localhost:1/signatures'
  await using service = run([], { ...PORTS, ...(await ownDatabase()), DATABASE_URL })
  const { code, stderr } = await service.ended
  expect(code).toBe(1)
  expect(stderr).toContain('ECONNREFUSED')
  expect(stderr).not.toContain('canary')
})

test.concurrent('a route that names an unknown provider keeps it from starting', async () => {
  const env = await ownDatabase()
  await using database = openDatabase(env.DATABASE_URL)
  await forceTable(database, 2, 'carrier-pigeon')

  await using service = run([], { ...PORTS, ...env })
  expect(await service.ended).toMatchObject({
    code: 1,
    stderr:
      'the route with priority 7 names "carrier-pigeon" for SMS; there is only twilio-sms for SMS, twilio-voice for VOICE, vonage-sms for SMS, fcm-push for PUSH\n',
  })
})

test.concurrent.for(Object.keys(PORTS))('a %s that is taken keeps it from starting, and is named', async (setting) => {
  const other = createServer().listen(0, '127.0.0.1')
  await once(other, 'listening')
  const { port } = other.address() as AddressInfo
  try {
    await using service = run([], { ...PORTS, ...(await ownDatabase()), [setting]: `${port}` })
    const { code, stderr } = await service.ended
    expect(code).toBe(1)
    expect(stderr).toMatch(new RegExp(`^[^\\n]*address already in use[^\\n]*127\\.0\\.0\\.1:${port}\\n$`))
  } finally {
    other.close()
  }
})
