import type { Route } from '../domain/routing.ts'
import type { Db } from './database.ts'

/** The routing table, in the order of its priorities. */
export async function readRoutes(db: Db): Promise<Route[]> {
  return db
    .selectFrom('route')
    .orderBy('priority')
    .select([
      'id',
      'priority',
      'channel',
      'calling_prefix as callingPrefix',
      'transaction_type as transactionType',
      'currency',
      'min_amount as minAmount',
      'max_amount as maxAmount',
      'provider',
      'enabled',
    ])
    .execute()
}
