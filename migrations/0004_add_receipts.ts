import { type Kysely, sql } from 'kysely'

export async function up(db: Kysely<unknown>): Promise<void> {
  await db.schema
    .createTable('receipt')
    .addColumn('id', 'bigint', (c) => c.primaryKey().generatedAlwaysAsIdentity())
    .addColumn('challenge_id', 'uuid', (c) => c.notNull().references('challenge.id').onDelete('cascade'))
    .addColumn('attempt', 'integer', (c) => c.notNull())
    .addColumn('provider_challenge_id', 'text', (c) => c.notNull())
    .addColumn('vendor_status', 'text', (c) => c.notNull())
    .addColumn('provider_error_code', 'text')
    .addColumn('body_ciphertext', 'bytea', (c) => c.notNull())
    .addColumn('body_key_id', 'text', (c) => c.notNull())
    .addColumn('signature', 'text', (c) => c.notNull())
    .addColumn('key_name', 'text', (c) => c.notNull())
    .addColumn('received_at', 'timestamptz', (c) => c.notNull().defaultTo(sql`clock_timestamp()`))
    .execute()
  // A receipt that comes again says nothing new, and is kept once.
  await sql`
    CREATE UNIQUE INDEX receipt_once
    ON receipt (challenge_id, provider_challenge_id, vendor_status, coalesce(provider_error_code, ''))
  `.execute(db)

  await db.schema
    .alterTable('challenge')
    .addColumn('vendor_status', 'text')
    .addColumn('delivery_error_code', 'text')
    .addColumn('delivery_reported_at', 'timestamptz')
    .addColumn('receipt_due_at', 'timestamptz')
    .execute()
  await sql`CREATE INDEX challenge_receipt_due ON challenge (receipt_due_at) WHERE receipt_due_at IS NOT NULL`.execute(
    db,
  )

  // The ways in which operators list signatures; ids are in the order of time.
  await db.schema.createIndex('signature_by_caller').on('signature').columns(['caller', 'id']).execute()
  await db.schema
    .createIndex('signature_by_customer')
    .on('signature')
    .columns(['caller', 'customer_hmac', 'id'])
    .execute()
  await db.schema.createIndex('signature_by_status').on('signature').columns(['caller', 'status', 'id']).execute()
  await db.schema.createIndex('challenge_by_provider').on('challenge').columns(['provider', 'signature_id']).execute()

  // Replicas listen for the sake of those who watch a signature.
  await sql`
    CREATE FUNCTION notify_signature() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
      PERFORM pg_notify('signature', NEW.signature_id::text);
      RETURN NULL;
    END
    $$
  `.execute(db)
  await sql`
    CREATE TRIGGER notify_signature AFTER INSERT ON timeline FOR EACH ROW EXECUTE FUNCTION notify_signature()
  `.execute(db)
}

export async function down(db: Kysely<unknown>): Promise<void> {
  await sql`DROP TRIGGER notify_signature ON timeline`.execute(db)
  await sql`DROP FUNCTION notify_signature`.execute(db)
  for (const index of [
    'challenge_by_provider',
    'signature_by_status',
    'signature_by_customer',
    'signature_by_caller',
  ]) {
    await db.schema.dropIndex(index).execute()
  }
  await db.schema
    .alterTable('challenge')
    .dropColumn('vendor_status')
    .dropColumn('delivery_error_code')
    .dropColumn('delivery_reported_at')
    .dropColumn('receipt_due_at')
    .execute()
  await db.schema.dropTable('receipt').execute()
}
