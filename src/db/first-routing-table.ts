import { isDeepStrictEqual } from 'node:util'
import { CHANNELS, type Channel } from '../domain/challenge.ts'
import type { Route } from '../domain/routing.ts'
import type { Db } from './database.ts'
import { findRoutingTable, insertRoutingTable } from './routing-tables.ts'

/** What a table has to say of a provider. */
interface Named {
  readonly name: string
  readonly channel: Channel
}

/**
 * Puts a table of `providers` in force if the newest one is still the first, which a migration wrote, and it names a
 * provider that isn't among them. Several replicas may do so at once: one of them publishes. A table that an operator
 * published is never replaced.
 */
export async function replaceFirstRoutingTable(db: Db, providers: readonly Named[]): Promise<void> {
  const newest = await findRoutingTable(db)
  const isFirst = newest?.version === 1 && isDeepStrictEqual(newest.routes, [everything('SMS', ['twilio-sms'])])
  if (!isFirst || providers.some(({ name }) => name === 'twilio-sms')) return
  // Which channels customers get beside the first is the operators' decision.
  const channel = CHANNELS.find((wanted) => providers.some((provider) => provider.channel === wanted))
  if (!channel) return
  const names = providers.filter((provider) => provider.channel === channel).map(({ name }) => name)
  await insertRoutingTable(db, {
    replaces: 1,
    author: 'signature-router',
    reason: 'first start: version 1 names twilio-sms, which has no credentials here',
    routes: [everything(channel, names)],
  })
}

/** One row that matches every request, its providers with equal shares. */
function everything(channel: Channel, names: string[]): Route {
  return {
    priority: 1000,
    match: {
      channel: null,
      country: null,
      callingPrefix: null,
      transactionType: null,
      customerSegment: null,
      amount: null,
      timeWindow: null,
    },
    channels: [{ channel, providers: names.map((provider) => ({ provider, weight: 1 })) }],
  }
}
