import { randomUUID } from 'node:crypto'
import { type Client, type Code, ConnectError, createClient } from '@connectrpc/connect'
import { createGrpcTransport } from '@connectrpc/connect-node'
import { sql } from 'kysely'
import { inject } from 'vitest'
import { RoutingService } from '../../gen/bank/signature/v1/routing_pb.ts'
import {
  type Signature,
  SignatureService,
  type StartSignatureRequestSchema,
  TimelineEventType,
  TimelineEventTypeSchema,
} from '../../gen/bank/signature/v1/signature_pb.ts'
import { BadRequestSchema, ErrorInfoSchema, RetryInfoSchema } from '../../gen/google/rpc/error_details_pb.ts'
import { loadConfig } from '../../src/config.ts'
import { type Db, openDatabase } from '../../src/db/database.ts'
import { type Sandbox, startSandbox } from '../../src/sandbox/sandbox.ts'
import { sandboxSettings } from '../../src/sandbox/sandbox-accounts.ts'
import { type Server, startServer } from '../../src/server.ts'
import { createDatabase } from './database.ts'
import { type Init, randomKey, transaction } from './requests.ts'

export { type Init, randomKey, transaction, wrongCode } from './requests.ts'

/** The real service on a database of its own, with a Twilio simulator beside it. */
export interface App extends AsyncDisposable {
  server: Server
  url: string
  client: Client<typeof SignatureService>
  /** For operators. */
  routing: Client<typeof RoutingService>
  sandbox: Sandbox
  db: Db
  /** The lines logged so far, parsed. */
  logs: Record<string, unknown>[]
  /** The environment it was started with, to start another replica or a process with. */
  env: Record<string, string>
  /** Starts one more replica on the same database and simulator. */
  replica(env?: Record<string, string>): Promise<Omit<App, 'replica'>>
  /** The page at /metrics. */
  metrics(): Promise<string>
}

/** Starts the service as production does, but on free ports. `env` overrides settings by their names. */
export async function startApp(env: Record<string, string> = {}): Promise<App> {
  await using starting = new AsyncDisposableStack()
  const accounts = inject('accounts')
  const sandbox = starting.use(await startSandbox({ host: '127.0.0.1', port: 0, receipts: 'none', ...accounts }))
  const settings: Record<string, string> = {
    DATABASE_URL: await createDatabase(inject('postgresUrl'), randomUUID(), 'migrated'),
    GRPC_PORT: '0',
    HTTP_PORT: '0',
    ADMIN_PORT: '0',
    PUBLIC_WEBHOOK_URL: 'http://127.0.0.1:0',
    ...sandboxSettings(accounts, sandbox.url),
    CODE_KEYS: `k1:${randomKey()}`,
    PII_KEYS: `p1:${randomKey()}`,
    INDEX_KEY: randomKey(),
    LOG_LEVEL: 'debug',
    DELIVERY_BACKOFF_MS: '10',
    // All test files share one server, whose connections are counted.
    DATABASE_POOL_SIZE: '10',
    // The tests of other things let providers fail more often than a breaker would bear.
    CIRCUIT_BREAKER: 'off',
    ...env,
  }
  const { db } = starting.use(openDatabase(settings.DATABASE_URL ?? ''))

  const start = async (overrides: Record<string, string>) => {
    const logs: Record<string, unknown>[] = []
    const log = { write: (line: string) => void logs.push(JSON.parse(line)) }
    const replicaEnv = { ...settings, ...overrides }
    const server = await startServer(await loadConfig(replicaEnv), { log })
    const url = `http://127.0.0.1:${server.grpcPort}`
    const transport = createGrpcTransport({ baseUrl: url })
    return {
      server,
      url,
      client: createClient(SignatureService, transport),
      routing: createClient(RoutingService, transport),
      sandbox,
      db,
      logs,
      env: replicaEnv,
      metrics: async () => (await fetch(`http://127.0.0.1:${server.adminPort}/metrics`)).text(),
      [Symbol.asyncDispose]: () => server[Symbol.asyncDispose](),
    }
  }
  const first = starting.use(await start({}))
  const running = starting.move()
  return {
    ...first,
    replica: async (overrides = {}) => running.use(await start(overrides)),
    [Symbol.asyncDispose]: () => running.disposeAsync(),
  }
}

export const PHONE = '+34600111222'

/** A StartSignatureRequest that is right in every field, with a key of its own. */
export function startRequest(
  fields: Init<typeof StartSignatureRequestSchema> = {},
): Init<typeof StartSignatureRequestSchema> {
  return {
    idempotencyKey: randomUUID(),
    customerId: 'customer-1',
    phoneNumber: PHONE,
    transaction: transaction(),
    ...fields,
  }
}

/** Starts a signature that goes well, and reads its code from the phone. */
export async function start(
  app: Pick<App, 'client' | 'sandbox'>,
  fields: Init<typeof StartSignatureRequestSchema> = {},
): Promise<{ signature: Signature; signatureId: string; challengeId: string; code: string }> {
  const { signature, challenge } = await app.client.startSignature(startRequest(fields))
  if (!signature || !challenge) throw new Error('no signature in the answer')
  const message = app.sandbox.messages.find(({ sid }) => sid === challenge.providerChallengeId)
  return { signature, signatureId: signature.id, challengeId: challenge.id, code: codeIn(message?.body) }
}

/** The code in a text message. */
export function codeIn(body: string | undefined): string {
  const code = /\b[0-9]{6}\b/.exec(body ?? '')?.[0]
  if (!code) throw new Error('no code in the message')
  return code
}

/** What a failed call told its caller. */
export interface Failure {
  code: Code
  reason: string | undefined
  message: string
  metadata: Record<string, string>
  fields: string[]
  retryDelayMs: number | undefined
}

/** The failure that a call ended in. Throws when it succeeded. */
export async function failure(call: Promise<unknown>): Promise<Failure> {
  const error = await call.then(
    (answer) => {
      throw new Error(
        `expected a failure, got ${JSON.stringify(answer, (_, v) => (typeof v === 'bigint' ? `${v}` : v))}`,
      )
    },
    (reason: unknown) => reason,
  )
  if (!(error instanceof ConnectError)) throw error
  const [info] = error.findDetails(ErrorInfoSchema)
  const [retry] = error.findDetails(RetryInfoSchema)
  const [badRequest] = error.findDetails(BadRequestSchema)
  return {
    code: error.code,
    reason: info?.reason,
    message: error.rawMessage,
    metadata: info?.metadata ?? {},
    fields: badRequest?.fieldViolations.map(({ field }) => field) ?? [],
    retryDelayMs: retry?.retryDelay && Number(retry.retryDelay.seconds) * 1_000 + retry.retryDelay.nanos / 1e6,
  }
}

/** The name of a timeline event's type, for example SIGNATURE_STARTED. */
export function typeName(type: TimelineEventType | undefined): string {
  return TimelineEventTypeSchema.value[type ?? TimelineEventType.UNSPECIFIED]?.localName ?? ''
}

/** The names of the types of a signature's timeline, oldest first. */
export async function timeline(app: Pick<App, 'client'>, signatureId: string): Promise<string[]> {
  const { signature } = await app.client.getSignature({ signatureId })
  return signature?.timeline.map(({ type }) => typeName(type)) ?? []
}

/** The one row of a table with this id. */
export async function row(
  { db }: Pick<App, 'db'>,
  table: 'signature' | 'challenge',
  id: string,
): Promise<Record<string, unknown> | undefined> {
  const { rows } = await sql<Record<string, unknown>>`SELECT * FROM ${sql.table(table)} WHERE id = ${id}`.execute(db)
  return rows[0]
}
