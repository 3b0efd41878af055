import type { Context } from '../context.ts'
import type { RoutingTable } from '../db/routing-tables.ts'
import { routingProblems } from '../domain/routing-problems.ts'
import { invalidFields } from '../errors.ts'
import { getRoutingTable } from './get-routing-table.ts'
import { type PublishRoutingTable, publishRoutingTable } from './publish-routing-table.ts'

/**
 * Puts an earlier version's rows in force again. Throws ROUTING_TABLE_NOT_FOUND, INVALID_FIELD when the rows have problems
 * by now, such as a provider that is gone, and what publishing throws.
 */
export async function rollBackRoutingTable(
  ctx: Pick<Context, 'db' | 'providers' | 'routing'>,
  { version, ...publish }: Omit<PublishRoutingTable, 'routes'> & { version: number },
): Promise<RoutingTable> {
  const { routes } = await getRoutingTable(ctx, version)
  const problems = routingProblems(routes, ctx.providers)
  if (problems.length > 0) throw invalidFields(problems)
  return publishRoutingTable(ctx, { ...publish, routes })
}
