import type { Context } from '../context.ts'
import { findRoutingTable, type RoutingTable } from '../db/routing-tables.ts'
import { AppError } from '../errors.ts'

/** Returns a version of the routing table, the newest for 0. Throws ROUTING_TABLE_NOT_FOUND. */
export async function getRoutingTable({ db }: Pick<Context, 'db'>, version: number): Promise<RoutingTable> {
  const table = await findRoutingTable(db, version === 0 ? {} : { version })
  if (!table) throw new AppError('ROUTING_TABLE_NOT_FOUND', 'there is no such version of the routing table')
  return table
}
