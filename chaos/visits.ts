import { setTimeout as sleep } from 'node:timers/promises'
import { type Customer, newCustomer, play, SCRIPTS } from './customers.ts'
import { checkCustomer, checkFault } from './invariants.ts'
import type { ProviderFault } from './provider-faults.ts'
import { count, inject, violate, type World } from './world.ts'

const CUSTOMERS_AT_ONCE = 40
const VISIT_EVERY_MS = 100

export type Visits = ReturnType<typeof createVisits>

/** Who is being served right now, each checked when they are done. */
export function createVisits(world: World) {
  const open = new Set<Promise<void>>()

  function begin(customer: Customer): Promise<void> {
    const visit = play(world, customer)
      .catch((error) => violate(world, 'a definite answer', `${customer.key}: ${error.stack}`))
      .then(() => checkCustomer(world, customer))
      .finally(() => open.delete(visit))
    open.add(visit)
    return visit
  }

  return {
    begin,
    open: () => open.size,
    all: () => Promise.all(open),
    /** A start that a provider's fault befalls and nothing else. */
    async provider(fault: ProviderFault, home: number): Promise<void> {
      const customer = newCustomer(world, { script: 'sign', home, fault })
      inject(world, `${fault.name} (${customer.key})`)
      world.sandbox.failNext(...(fault.faults ?? []).map((one) => ({ ...one, to: customer.phone })))
      if (fault.cut) {
        const { traps } = world.replicas[home === 0 ? 0 : 1].vendor
        const to = `To=${encodeURIComponent(customer.phone)}`
        const holds = fault.cut === 'before' ? 'request' : 'answer'
        traps.add({ holds, sees: (_, since) => since.includes(to), fire: (reset) => reset() })
      }
      await begin(customer)
      const [row] = await world.query(
        `SELECT count(attempt.number)::int AS attempts FROM idempotency_key
           JOIN challenge USING (signature_id) LEFT JOIN attempt ON attempt.challenge_id = challenge.id WHERE key = $1`,
        [customer.key],
      )
      const attempts = Number(row?.attempts)
      if (customer.repeats > 0) {
        violate(world, 'served at the first try once a fault is over', `${customer.key} asked ${customer.repeats} more`)
      }
      checkFault(world, customer, attempts)
      if (attempts > 0) count(world.faults, fault.name)
    },
  }
}

/** Customers of all kinds, some of them impatient. */
export async function crowd(world: World, visits: Visits, random: (below: number) => number, quiet: AbortSignal) {
  while (!quiet.aborted) {
    if (visits.open() < CUSTOMERS_AT_ONCE) {
      const script = SCRIPTS[random(SCRIPTS.length)] ?? 'sign'
      const patienceMs = random(10) === 0 ? 50 + random(600) : 2_000 + random(6_000)
      visits.begin(newCustomer(world, { script, home: random(2), patienceMs }))
    }
    await sleep(VISIT_EVERY_MS)
  }
}
