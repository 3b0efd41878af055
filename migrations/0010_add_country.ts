import type { Kysely } from 'kysely'

/** Nullable, as the version before, which runs beside this one for a while, doesn't write it. */
export async function up(db: Kysely<unknown>): Promise<void> {
  await db.schema.alterTable('signature').addColumn('country', 'text').execute()
}

export async function down(db: Kysely<unknown>): Promise<void> {
  await db.schema.alterTable('signature').dropColumn('country').execute()
}
