import type { Context } from '../context.ts'
import { findRoutingTable, insertRoutingTable, type RoutingTable } from '../db/routing-tables.ts'
import type { Route } from '../domain/routing.ts'
import { routingProblems } from '../domain/routing-problems.ts'
import { AppError, invalidFields } from '../errors.ts'

export interface PublishRoutingTable {
  /** The version in force as the author knows it. */
  replacesVersion: number
  author: string
  reason: string
  routes: Route[]
}

/**
 * Puts a table in force; this replica obeys it when the call ends. Throws INVALID_FIELD if its rows have problems, and
 * ROUTING_TABLE_CONFLICT if another version than `replacesVersion` is in force.
 */
export async function publishRoutingTable(
  ctx: Pick<Context, 'db' | 'providers' | 'routing'>,
  { replacesVersion, author, reason, routes }: PublishRoutingTable,
): Promise<RoutingTable> {
  const problems = routingProblems(routes, ctx.providers)
  if (problems.length > 0) throw invalidFields(problems)
  const table = await insertRoutingTable(ctx.db, { replaces: replacesVersion, author, reason, routes })
  if (!table) {
    const current = await findRoutingTable(ctx.db)
    const version = current?.version ?? 0
    throw new AppError('ROUTING_TABLE_CONFLICT', `version ${version} is in force, not ${replacesVersion}`, {
      metadata: { current_version: String(version) },
    })
  }
  await ctx.routing.refresh()
  return table
}
