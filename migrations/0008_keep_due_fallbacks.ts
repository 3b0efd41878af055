import { type Kysely, sql } from 'kysely'

export async function up(db: Kysely<unknown>): Promise<void> {
  await db.schema.alterTable('challenge').addColumn('fallback_due_at', 'timestamptz').execute()
  // What every replica looks for every few seconds.
  await sql`
    CREATE INDEX challenge_fallback_due ON challenge (fallback_due_at)
    WHERE fallback_due_at IS NOT NULL AND status IN ('PENDING', 'SENT')
  `.execute(db)
}

export async function down(db: Kysely<unknown>): Promise<void> {
  await db.schema.alterTable('challenge').dropColumn('fallback_due_at').execute()
}
