import type { Context } from '../context.ts'
import { listRoutingTableVersions as list, type RoutingTableVersion } from '../db/routing-tables.ts'

/** Lists versions of the routing table, newest first, and the version before which the next page begins. */
export async function listRoutingTableVersions(
  { db }: Pick<Context, 'db'>,
  { before, pageSize }: { before: number; pageSize: number },
): Promise<{ versions: RoutingTableVersion[]; nextBefore: number | undefined }> {
  const versions = await list(db, before, pageSize + 1)
  const page = versions.slice(0, pageSize)
  return { versions: page, nextBefore: versions.length > pageSize ? page.at(-1)?.version : undefined }
}
