import { type Kysely, sql } from 'kysely'

export async function up(db: Kysely<unknown>): Promise<void> {
  // An attempt is written before its call, and its outcome with the delivery's.
  await db.schema
    .alterTable('attempt')
    .alterColumn('outcome', (c) => c.dropNotNull())
    .alterColumn('ended_at', (c) => c.dropNotNull())
    .execute()
  await db.schema
    .alterTable('attempt')
    .addCheckConstraint('attempt_ended_with_outcome', sql`(outcome IS NULL) = (ended_at IS NULL)`)
    .execute()
  // Given back when the delivery is recorded.
  await db.schema
    .alterTable('challenge')
    .alterColumn('lease_expires_at', (c) => c.dropNotNull())
    .execute()

  // What every replica looks for every few seconds.
  await sql`
    CREATE INDEX challenge_lease ON challenge (lease_expires_at) WHERE status = 'PENDING' AND delivery_status IS NULL
  `.execute(db)
  await sql`CREATE INDEX signature_due ON signature (expires_at) WHERE status = 'PENDING'`.execute(db)
  await sql`CREATE INDEX signature_completed ON signature (completed_at) WHERE status <> 'PENDING'`.execute(db)
  await db.schema.createIndex('idempotency_key_created').on('idempotency_key').column('created_at').execute()
}

export async function down(db: Kysely<unknown>): Promise<void> {
  for (const index of ['idempotency_key_created', 'signature_completed', 'signature_due', 'challenge_lease']) {
    await db.schema.dropIndex(index).execute()
  }
  await sql`UPDATE challenge SET lease_expires_at = created_at WHERE lease_expires_at IS NULL`.execute(db)
  await db.schema
    .alterTable('challenge')
    .alterColumn('lease_expires_at', (c) => c.setNotNull())
    .execute()
  await db.schema.alterTable('attempt').dropConstraint('attempt_ended_with_outcome').execute()
  // Whoever made the call never said what came of it.
  await sql`UPDATE attempt SET outcome = 'unknown', ended_at = started_at WHERE outcome IS NULL`.execute(db)
  await db.schema
    .alterTable('attempt')
    .alterColumn('outcome', (c) => c.setNotNull())
    .alterColumn('ended_at', (c) => c.setNotNull())
    .execute()
}
