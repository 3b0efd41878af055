import type { Context } from '../context.ts'
import type { RoutingTable } from '../db/routing-tables.ts'
import { getRoutingTable } from './get-routing-table.ts'
import { type PublishRoutingTable, publishRoutingTable } from './publish-routing-table.ts'

/**
 * Puts an earlier version's rows in force again. Throws ROUTING_TABLE_NOT_FOUND, and what {@link publishRoutingTable} throws:
 * rows that were right once may have problems by now, such as a provider that is gone.
 */
export async function rollBackRoutingTable(
  ctx: Pick<Context, 'db' | 'providers' | 'routing'>,
  { version, ...publish }: Omit<PublishRoutingTable, 'routes'> & { version: number },
): Promise<RoutingTable> {
  const { routes } = await getRoutingTable(ctx, version)
  return publishRoutingTable(ctx, { ...publish, routes })
}
