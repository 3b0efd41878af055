import type { Context } from './context.ts'
import type { Db } from './db/database.ts'
import { replaceFirstRoutingTable } from './db/first-routing-table.ts'
import { type LiveRouting, openLiveRouting } from './db/live-routing.ts'
import { unknownProviders } from './providers/unknown-providers.ts'

/**
 * Keeps the routing table in force in memory, and reports each version. Throws if the one in force at the start names a
 * provider that isn't there. A later one finds a replica that others rely on: it goes on without what it lacks.
 */
export async function openRouting(
  db: Db,
  providers: Context['providers'],
  { log, metrics }: Pick<Context, 'log' | 'metrics'>,
): Promise<LiveRouting> {
  await replaceFirstRoutingTable(db, [...providers.values()])
  let unknown: string[] = []
  const routing = await openLiveRouting(db, {
    onTable({ version, routes }) {
      metrics.routingTableVersion.set(version)
      log.info({ routing_table_version: version }, 'routing table in force')
      unknown = unknownProviders(routes, providers)
      for (const problem of unknown) log.error({ routing_table_version: version }, problem)
    },
    onError: (error) => log.warn({ error }, 'routing table not read, the last one stays'),
  })
  if (unknown.length === 0) return routing
  await routing[Symbol.asyncDispose]()
  throw new Error(unknown.join('\n'))
}
