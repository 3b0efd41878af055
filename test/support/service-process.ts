import { type ChildProcess, spawn } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { join } from 'node:path'
import { createClient } from '@connectrpc/connect'
import { createGrpcTransport } from '@connectrpc/connect-node'
import { sql } from 'kysely'
import { expect, inject, vi } from 'vitest'
import { SignatureService } from '../../gen/bank/signature/v1/signature_pb.ts'
import { openDatabase } from '../../src/db/database.ts'
import { randomKey, startRequest } from './app.ts'
import { createDatabase } from './database.ts'

export const ROOT = join(import.meta.dirname, '../..')
export const PATH = `${join(ROOT, 'node_modules/.bin')}:${process.env.PATH}`
export const PORTS = { GRPC_PORT: '0', HTTP_PORT: '0', ADMIN_PORT: '0', SANDBOX_PORT: '0' }

export type Env = Record<string, string>
export type ServiceProcess = Awaited<ReturnType<typeof serve>>

const children: ChildProcess[] = []

/** For afterAll: a test that ran out of time disposes of nothing. */
export function killLeftovers(): void {
  for (const child of children) child.kill('SIGKILL')
}

/** Runs a checkout's main.ts with these arguments and nothing in its environment but these settings. Disposing kills it. */
export function run(args: string[], env: Env, root = ROOT) {
  return runCommand([process.execPath, '--disable-sigusr1', join(root, 'src/main.ts'), ...args], env, root)
}

function runCommand([command = '', ...args]: string[], env: Env, root: string) {
  const child = spawn(command, args, {
    cwd: root,
    env: { PATH, ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  children.push(child)
  const output = { stdout: '', stderr: '' }
  for (const name of ['stdout', 'stderr'] as const) {
    child[name].setEncoding('utf8').on('data', (text) => {
      output[name] += text
    })
  }
  const ended = once(child, 'close').then(([code, signal]) => ({ code, signal, ...output }))

  /** What the pattern finds in an output, as soon as it is there. */
  async function wrote(name: 'stdout' | 'stderr', pattern: RegExp): Promise<string[]> {
    const found = pattern.exec(output[name])
    if (found) return found
    const end = await Promise.race([once(child[name], 'data').then(() => undefined), ended])
    if (end) throw new Error(`ended without ${pattern}: ${JSON.stringify(end)}`)
    return wrote(name, pattern)
  }

  return {
    child,
    output,
    ended,
    wrote,
    async [Symbol.asyncDispose]() {
      child.kill('SIGKILL')
      // A test may have stopped reading.
      child.stdout.resume()
      await ended
    },
  }
}

/** Starts the service, on free ports unless told others, and waits until it says where it listens. */
export function serve(env: Env, root = ROOT) {
  return listening(run([], { ...PORTS, ...env }, root))
}

/** The same by another command, for example npm start. */
export function serveBy(command: string[], env: Env) {
  return listening(runCommand(command, { ...PORTS, ...env }, ROOT))
}

async function listening(service: ReturnType<typeof run>) {
  try {
    const [, grpc] = await service.wrote('stderr', /^gRPC {2}(\S+)$/m)
    const [, http] = await service.wrote('stderr', /^HTTP {2}(http:\/\/[^/\s]+)/m)
    const [, admin] = await service.wrote('stderr', /^(?:admin|HTTP) +(\S+)\/metrics \/livez \/readyz$/m)
    const [command = ''] = await service.wrote('stderr', /^npx buf curl .*\/StartSignature'?$/ms)
    const [, sandbox] = /^phone (\S+)\/ /m.exec(service.output.stderr) ?? []
    const [listening = ''] = await service.wrote('stdout', /^\{.*"msg":"listening"\}$/m)
    return { ...service, grpcUrl: `http://${grpc}`, http, admin, sandbox, command, listening: JSON.parse(listening) }
  } catch (error) {
    await service[Symbol.asyncDispose]()
    throw error
  }
}

/** Settings that name a database of one's own, a copy of this one. */
export async function ownDatabase(copyOf = 'migrated'): Promise<Env & { DATABASE_URL: string }> {
  return {
    DATABASE_URL: await createDatabase(inject('postgresUrl'), randomUUID(), copyOf),
    CODE_KEYS: `k1:${randomKey()}`,
    PII_KEYS: `p1:${randomKey()}`,
    INDEX_KEY: randomKey(),
  }
}

/** The answer's status at that URL. */
export async function get(url: string, init?: RequestInit): Promise<number> {
  const response = await fetch(url, init)
  await response.text()
  return response.status
}

/** A client with a connection of its own. */
export function connect(baseUrl: string) {
  return createClient(SignatureService, createGrpcTransport({ baseUrl }))
}

/** The messages in the sandbox's outbox, from its HTTP API. */
export async function sandboxMessages(sandbox: string | undefined): Promise<{ sid: string; body: string }[]> {
  const response = await fetch(`${sandbox}/messages`)
  return (await response.json()) as { sid: string; body: string }[]
}

/** Makes so many calls of StartSignature that Twilio keeps waiting, and gives them once all are stored. */
export async function startSlowly(
  service: { grpcUrl: string; sandbox: string | undefined },
  databaseUrl: string,
  count: number,
) {
  const next = Array.from({ length: count }, () => ({ latencyMs: 1_500 }))
  await fetch(`${service.sandbox}/faults`, { method: 'POST', body: JSON.stringify({ next }) })
  const client = connect(service.grpcUrl)
  const calls = next.map(() => client.startSignature(startRequest()))
  await using database = openDatabase(databaseUrl)
  await vi.waitFor(async () => {
    const { rows } = await sql`SELECT FROM challenge`.execute(database.db)
    expect(rows).toHaveLength(count)
  }, 10_000)
  return calls
}
