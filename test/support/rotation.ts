import { expect, vi } from 'vitest'
import { SignatureStatus } from '../../gen/bank/signature/v1/signature_pb.ts'
import { type App, start, transaction } from './app.ts'

type Replica = Omit<App, 'replica'>

/** The lines of a replica's log with this message. */
export function linesOf({ logs }: Pick<App, 'logs'>, msg: string) {
  return logs.filter((line) => line.msg === msg)
}

/** The names of what these lines say is wrong. */
export function problemsIn(replica: Pick<App, 'logs'>, msg: string): Set<string> {
  const problems = linesOf(replica, msg).flatMap((line) => line.problems as string[])
  return new Set(problems.map((problem) => problem.replace(/:.*/, '')))
}

/** Waits until each replica has logged this message, with these fields. */
export async function haveLogged(replicas: Pick<App, 'logs'>[], msg: string, fields: Record<string, unknown> = {}) {
  for (const replica of replicas) {
    await vi.waitFor(() => expect(linesOf(replica, msg)).toContainEqual(expect.objectContaining(fields)), 20_000)
  }
}

/** How often a replica read its secrets with that outcome. */
export async function readsThat(app: Pick<App, 'metrics'>, outcome: string): Promise<number> {
  const [, count] =
    new RegExp(`^secrets_reads_total\\{outcome="${outcome}"\\} (\\d+)$`, 'm').exec(await app.metrics()) ?? []
  return Number(count ?? 0)
}

/**
 * Starts signatures on each of the replicas and completes them on the next one, over and over, until stopped. Throws then
 * when any call failed.
 */
export function signSteadily(replicas: Replica[], workers = 4) {
  let stopped = false
  const signed: string[] = []
  async function work(number: number): Promise<void> {
    for (let turn = number; !stopped; turn++) {
      const [here, there] = [turn, turn + 1].map((n) => replicas[n % replicas.length])
      if (!here || !there) throw new Error('no replicas')
      const { signatureId, code } = await start(here)
      const { signature } = await there.client.completeSignature({ signatureId, code, transaction: transaction() })
      expect(signature?.status).toBe(SignatureStatus.SIGNED)
      signed.push(signatureId)
    }
  }
  const working = Promise.allSettled(Array.from({ length: workers }, (_, number) => work(number)))
  /** Waits until so many more were signed. */
  async function more(count: number): Promise<void> {
    const enough = signed.length + count
    await vi.waitFor(() => expect(signed.length).toBeGreaterThanOrEqual(enough), 20_000)
  }
  return {
    signed,
    more,
    async stop(): Promise<void> {
      stopped = true
      for (const result of await working) if (result.status === 'rejected') throw result.reason
    },
  }
}
