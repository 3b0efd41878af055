import { sql } from 'kysely'
import type { Route } from '../domain/routing.ts'
import type { Db } from './database.ts'

/** A version of the routing table without its rows. */
export interface RoutingTableVersion {
  version: number
  author: string
  reason: string
  publishedAt: Date
}

/** A version of the routing table. None is ever changed. */
export interface RoutingTable extends RoutingTableVersion {
  /** By priority. */
  routes: Route[]
}

const VERSION = ['version', 'author', 'reason', 'published_at as publishedAt'] as const

/** Returns one version of the routing table, or the newest, or the newest after one; undefined if there is no such version. */
export async function findRoutingTable(
  db: Db,
  { version, after }: { version?: number; after?: number } = {},
): Promise<RoutingTable | undefined> {
  return db
    .selectFrom('routing_table')
    .$if(version !== undefined, (query) => query.where('version', '=', Number(version)))
    .$if(after !== undefined, (query) => query.where('version', '>', Number(after)))
    .orderBy('version', 'desc')
    .limit(1)
    .select([...VERSION, 'routes'])
    .executeTakeFirst()
}

/** Returns up to `limit` versions before the version `before`, newest first. */
export async function listRoutingTableVersions(db: Db, before: number, limit: number): Promise<RoutingTableVersion[]> {
  return db
    .selectFrom('routing_table')
    .where('version', '<', before)
    .orderBy('version', 'desc')
    .limit(limit)
    .select(VERSION)
    .execute()
}

/**
 * Puts a table in force in place of the newest version. Returns undefined and writes nothing if that isn't `replaces`:
 * another operator was first.
 */
export async function insertRoutingTable(
  db: Db,
  { replaces, author, reason, routes }: { replaces: number; author: string; reason: string; routes: Route[] },
): Promise<RoutingTable | undefined> {
  // Two at once write the same version: one of them waits for the other here, and then finds it taken.
  return db
    .insertInto('routing_table')
    .columns(['version', 'author', 'reason', 'routes'])
    .expression((eb) =>
      eb
        .selectFrom('routing_table')
        .where('version', '=', replaces)
        .select([
          sql<number>`version + 1`.as('version'),
          sql<string>`${author}`.as('author'),
          sql<string>`${reason}`.as('reason'),
          sql<string>`${JSON.stringify(routes.toSorted((a, b) => a.priority - b.priority))}::jsonb`.as('routes'),
        ]),
    )
    .onConflict((oc) => oc.column('version').doNothing())
    .returning([...VERSION, 'routes'])
    .executeTakeFirst()
}
