import { sql } from 'kysely'
import { afterAll, expect, inject, test } from 'vitest'
import { openDatabase } from '../../src/db/database.ts'
import { startSandbox } from '../../src/sandbox/sandbox.ts'
import { sandboxSettings } from '../../src/sandbox/sandbox-accounts.ts'
import { type Load, startLoad } from '../support/rolling-restart.ts'
import { type Env, killLeftovers, ownDatabase, serve } from '../support/service-process.ts'

/** `RESTARTS=100` takes some minutes. */
const RESTARTS = Number(process.env.RESTARTS ?? 12)
const CLIENTS = 6

afterAll(killLeftovers)

function progress(restarts: number, { calls, retries, failures, sent, signed }: Load, ends: { ms: number }[]): string {
  const slowestMs = Math.max(...ends.map(({ ms }) => ms))
  return JSON.stringify({ restarts, calls, retries, failures, sent: sent.size, signed: signed.size, slowestMs })
}

test(
  `${RESTARTS} restarts of one replica after the other under load: with one retry no call fails, and no message is lost or sent twice`,
  async () => {
    const accounts = inject('accounts')
    await using sandbox = await startSandbox({ host: '127.0.0.1', port: 0, receipts: 'none', ...accounts })
    const own = await ownDatabase()
    const env: Env = { ...own, ...sandboxSettings(accounts, sandbox.url) }
    const first = await Promise.all([serve(env), serve(env)])
    const settings = first.map(({ listening }) => ({
      ...env,
      GRPC_PORT: String(listening.grpc_port),
      HTTP_PORT: String(listening.http_port),
    }))
    const replicas = first
    const stop = new AbortController()
    const { load, ended, found } = startLoad([first[0].grpcUrl, first[1].grpcUrl], sandbox, CLIENTS, stop.signal)

    // The sandbox keeps no more than the last thousand.
    const messages = new Set<string>()
    const look = () => {
      for (const { sid } of sandbox.messages) messages.add(sid)
    }
    const ends: { code: number; ms: number; errors: string[] }[] = []
    for (let n = 0; n < RESTARTS; n += 1) {
      const replica = replicas[n % 2]
      const signalledMs = performance.now()
      replica?.child.kill('SIGTERM')
      const end = await replica?.ended
      const lines = end?.stdout.trimEnd().split('\n') ?? []
      ends.push({
        code: end?.code,
        ms: Math.round(performance.now() - signalledMs),
        errors: lines.filter((line) => /"level":"(error|fatal)"/.test(line)),
      })
      replicas[n % 2] = await serve(settings[n % 2] ?? {})
      await found(n % 2 === 0 ? 0 : 1)
      look()
      if (process.env.RESTARTS) process.stderr.write(`${progress(n + 1, load, ends)}\n`)
    }
    stop.abort()
    await ended
    look()
    for (const replica of replicas) await replica[Symbol.asyncDispose]()

    expect(load.failures).toEqual([])
    expect(load.retries).toBeGreaterThan(0)
    expect(ends.filter(({ code, errors, ms }) => code !== 0 || errors.length > 0 || ms > 20_000)).toEqual([])

    await using database = openDatabase(own.DATABASE_URL)
    const { rows } = await sql<{ id: string; sid: string; signed: boolean; signature_id: string }>`
    SELECT challenge.id, provider_challenge_id AS sid, signature.status = 'SIGNED' AS signed, signature_id
    FROM challenge JOIN signature ON signature.id = signature_id`.execute(database.db)
    expect(new Map(rows.map(({ id, sid }) => [id, sid]))).toEqual(load.sent)
    expect(new Set(rows.filter(({ signed }) => signed).map((row) => row.signature_id))).toEqual(load.signed)
    expect([...messages].sort()).toEqual([...load.sent.values()].sort())
  },
  60_000 + RESTARTS * 15_000,
)
