import type { Sandbox } from '../src/sandbox/sandbox.ts'
import type { ReplicatedPostgres } from './cluster.ts'
import type { Customer } from './customers.ts'
import type { Replica } from './replicas.ts'
import type { VendorNotes } from './vendor.ts'

/** Something that must never be. */
export interface Violation {
  invariant: string
  detail: string
  /** What was injected last, the latest last. */
  after: string[]
}

/** Everything that a run has to do with. */
export interface World {
  postgres: ReplicatedPostgres
  replicas: readonly [Replica, Replica]
  sandbox: Sandbox
  vendor: VendorNotes
  customers: Customer[]
  violations: Violation[]
  /** What was injected, with how often it had effect. */
  kills: Map<string, number>
  faults: Map<string, number>
  /** Told by all calls: RPC and outcome. */
  told: Map<string, number>
  /** Injected last. */
  recent: string[]
  maxTries: number
  /** Asks the primary, again while it is away. */
  query(text: string, values?: unknown[]): Promise<Record<string, unknown>[]>
}

export function count(counts: Map<string, number>, name: string, by = 1): void {
  counts.set(name, (counts.get(name) ?? 0) + by)
}

export function inject(world: World, what: string): void {
  world.recent.push(`${new Date().toISOString().slice(11, 23)} ${what}`)
  if (world.recent.length > 6) world.recent.shift()
}

export function violate(world: World, invariant: string, detail: string): void {
  world.violations.push({ invariant, detail, after: [...world.recent] })
}
