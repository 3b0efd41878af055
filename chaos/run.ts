import { setTimeout as sleep } from 'node:timers/promises'
import { seededRandom } from '../test/support/seeded-random.ts'
import { checkTables } from './clear-text.ts'
import { newCustomer } from './customers.ts'
import { SYSTEM_FAULTS, type SystemFault } from './faults.ts'
import { checkCustomer, createDatabaseCheck } from './invariants.ts'
import { KILL_POINTS, type KillPoint } from './kill-points.ts'
import { PROVIDER_FAULTS } from './provider-faults.ts'
import type { Report } from './report.ts'
import { startWorld } from './setup.ts'
import { createVisits, crowd, type Visits } from './visits.ts'
import { count, inject, violate, type World } from './world.ts'

export interface ChaosOptions {
  kills: number
  faults: number
  seconds: number
  seed: number
  /** The checkout that the second replica runs from; this one unless told. */
  beside?: string | undefined
  /** Hears now and then how far it is. */
  onProgress?(line: string): void
}

const KILLS_AT_ONCE = 12
const PROVIDER_FAULTS_AT_ONCE = 8
/** Of the faults beyond one of each kind. */
const SYSTEM_SHARE = 20
const TTL_MS = 30_000
const SWEPT_WITHIN_MS = 15_000

/** Injects so many kills and faults, as the seed says, and checks the invariants after each. */
export async function runChaos(options: ChaosOptions, signal: AbortSignal): Promise<Report> {
  const startedAt = performance.now()
  const lasted = () => (performance.now() - startedAt) / 1000
  await using world = await startWorld(options.beside)
  const random = seededRandom(options.seed)
  const kills = deal(random, KILL_POINTS, options.kills)
  const providerFaults = Math.round((options.faults - SYSTEM_FAULTS.length) * (1 - SYSTEM_SHARE / 100))
  const ofProviders = deal(random, PROVIDER_FAULTS, Math.max(0, Math.min(options.faults, providerFaults)))
  const ofSystem = deal(random, SYSTEM_FAULTS, options.faults - ofProviders.length)
  const visits = createVisits(world)
  const checkDatabase = createDatabaseCheck(world)
  const isOver = () => signal.aborted || lasted() > options.seconds
  const progress = () => {
    const [killed, faulted] = [total(world.kills), total(world.faults)]
    options.onProgress?.(
      `${lasted().toFixed(0)} s: ${killed}/${options.kills} kills, ${faulted}/${options.faults} faults, ` +
        `${world.customers.length} starts, ${visits.open()} open, ${world.violations.length} violations`,
    )
  }

  const rounds = Math.max(1, Math.ceil(options.kills / KILLS_AT_ONCE), Math.ceil(ofSystem.length / KILLS_AT_ONCE))
  for (let round = 0; round < rounds && !isOver(); round++) {
    const share = <T>(all: readonly T[]) =>
      all.slice(Math.floor((all.length * round) / rounds), Math.floor((all.length * (round + 1)) / rounds))
    await recover(world)
    const queue = share(ofProviders)
    const workers = Array.from({ length: PROVIDER_FAULTS_AT_ONCE }, (_, at) =>
      inTurn(
        queue.filter((__, index) => index % PROVIDER_FAULTS_AT_ONCE === at),
        isOver,
        (fault, index) => visits.provider(fault, (at + index) % 2),
      ),
    )
    await Promise.all(workers)
    await checkDatabase()

    const quiet = new AbortController()
    const load = crowd(world, visits, seededRandom(options.seed + 3 * round + 1), quiet.signal)
    await Promise.all([
      inTurn(share(kills), isOver, async (point) => {
        await killAt(world, visits, point, random)
        await checkDatabase()
        progress()
      }),
      inTurn(share(ofSystem), isOver, async (fault) => {
        await befall(world, fault, seededRandom(options.seed + 7 * total(world.faults)))
        await checkDatabase()
      }),
    ])
    quiet.abort()
    await load
    progress()
  }
  const endedBy = signal.aborted ? 'a signal' : isOver() ? 'time' : 'counts'
  if (!signal.aborted) await settle(world, visits, checkDatabase, progress)
  return reportOf(world, options, endedBy, lasted())
}

/** One of each kind, and then whatever comes, in any order. */
function deal<T>(random: (below: number) => number, kinds: readonly T[], length: number): T[] {
  const dealt = Array.from({ length }, (_, at) => (at < kinds.length ? kinds[at] : kinds[random(kinds.length)]) as T)
  for (let at = dealt.length - 1; at > 0; at--) {
    const other = random(at + 1)
    ;[dealt[at], dealt[other]] = [dealt[other] as T, dealt[at] as T]
  }
  return dealt
}

async function inTurn<T>(all: readonly T[], isOver: () => boolean, each: (one: T, index: number) => Promise<void>) {
  for (const [index, one] of all.entries()) if (!isOver()) await each(one, index)
}

const REACHED_WITHIN_MS = 6_000
const ROUNDS_PER_KILL = 5

/** Kills a replica as soon as it gets to that point, and waits until it is back. */
async function killAt(world: World, visits: Visits, point: KillPoint, random: (below: number) => number) {
  for (let at = 0; at < ROUNDS_PER_KILL; at++) {
    const home = random(2)
    const replica = world.replicas[home === 0 ? 0 : 1]
    await replica.up()
    const killed = Promise.withResolvers<true>()
    const fire = () => {
      inject(world, `${point.name} at ${replica.name}`)
      replica.kill()
      killed.resolve(true)
    }
    const trap = { sees: point.sees, holds: point.holds, fire }
    replica[point.on].traps.add(trap)
    const until = performance.now() + REACHED_WITHIN_MS
    while (performance.now() < until) {
      visits.begin(newCustomer(world, { script: point.script, home }))
      if (await Promise.race([killed.promise, sleep(200)])) {
        count(world.kills, point.name)
        await replica.up()
        return
      }
    }
    replica[point.on].traps.delete(trap)
  }
}

const TIMES_PER_FAULT = 12

/** Again where it found nothing to go wrong with: nobody waited for the lock, or wrote to the table. */
async function befall(world: World, fault: SystemFault, random: (below: number) => number) {
  for (let at = 0; at < TIMES_PER_FAULT; at++) {
    inject(world, fault.name)
    const hadEffect = await fault.inject(world, random)
    inject(world, `${fault.name} is over`)
    if (hadEffect) return count(world.faults, fault.name)
  }
}

const RECOVERED_WITHIN_MS = 5_000

/** Waits until both replicas serve again. */
async function recover(world: World): Promise<void> {
  const startedAt = performance.now()
  for (const replica of world.replicas) {
    await replica.up()
    for (;;) {
      const answered = await replica.client
        .getSignature({ signatureId: crypto.randomUUID() }, { timeoutMs: 1_000 })
        .then(
          () => true,
          (error) => error.rawMessage === 'there is no such signature',
        )
      if (answered) break
      if (performance.now() - startedAt > 60_000) throw new Error(`${replica.name} does not come back`)
      await sleep(50)
    }
  }
  const tookMs = performance.now() - startedAt
  if (tookMs > RECOVERED_WITHIN_MS) violate(world, 'serves again within 5 s', `after ${Math.round(tookMs)} ms`)
}

/** Lets all customers end and all that expires be swept, and compares everything with everything. */
async function settle(world: World, visits: Visits, checkDatabase: () => Promise<void>, progress: () => void) {
  await visits.all()
  progress()
  const until = performance.now() + TTL_MS + SWEPT_WITHIN_MS
  const isSwept = async () => {
    const rows = await world.query("SELECT FROM signature WHERE status = 'PENDING' LIMIT 1")
    return rows.length === 0
  }
  while (performance.now() < until && !(await isSwept())) await sleep(250)
  await checkDatabase()
  for (const customer of world.customers) await checkCustomer(world, customer)
  await checkTables(world)
  const told = Map.groupBy(world.customers, ({ state }): string => state ?? 'PENDING')
  const rows = await rowsByState(world)
  for (const state of new Set([...told.keys(), ...rows.keys()])) {
    const [wanted, found] = [told.get(state)?.length ?? 0, rows.get(state) ?? 0]
    if (wanted !== found)
      violate(world, 'the sum of rows by state is what was told', `${state}: ${found}, told ${wanted}`)
  }
}

async function rowsByState(world: World): Promise<Map<string, number>> {
  const rows = await world.query('SELECT status, count(*)::int AS count FROM signature GROUP BY status ORDER BY status')
  return new Map(rows.map(({ status, count: rowCount }) => [String(status), Number(rowCount)]))
}

async function reportOf(world: World, options: ChaosOptions, endedBy: string, seconds: number): Promise<Report> {
  return {
    seed: options.seed,
    endedBy,
    seconds,
    kills: world.kills,
    faults: world.faults,
    told: world.told,
    starts: world.customers.length,
    vendorCalls: world.vendor.allCalls().length,
    rows: await rowsByState(world),
    violations: world.violations,
  }
}

function total(counts: Map<string, number>): number {
  return [...counts.values()].reduce((sum, one) => sum + one, 0)
}
