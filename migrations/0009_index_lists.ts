import { type Kysely, sql } from 'kysely'

/** Holds writes to signatures and challenges while it runs: ten seconds and more for each million of them. */
export async function up(db: Kysely<unknown>): Promise<void> {
  // Lists are in the order of created_at: by the database's clock, unlike ids, so that ranges of time are ranges of an index.
  for (const index of [
    'signature_by_caller',
    'signature_by_customer',
    'signature_by_status',
    'challenge_by_provider',
  ]) {
    await db.schema.dropIndex(index).execute()
  }
  await db.schema
    .createIndex('signature_by_status')
    .on('signature')
    .columns(['caller', 'status', 'created_at', 'id'])
    .execute()
  await db.schema
    .createIndex('signature_by_customer')
    .on('signature')
    .columns(['caller', 'customer_hmac', 'status', 'created_at', 'id'])
    .execute()

  await db.schema
    .createTable('signature_provider')
    .addColumn('signature_id', 'uuid', (c) => c.notNull())
    .addColumn('provider', 'text', (c) => c.notNull())
    .addColumn('caller', 'text', (c) => c.notNull())
    .addColumn('status', 'text', (c) => c.notNull())
    .addColumn('created_at', 'timestamptz', (c) => c.notNull())
    .addColumn('expires_at', 'timestamptz', (c) => c.notNull())
    .execute()
  // By triggers, as the version before, which runs beside this one for a while, knows nothing of it.
  await sql`
    CREATE FUNCTION note_provider() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
      INSERT INTO signature_provider (signature_id, provider, caller, status, created_at, expires_at)
      SELECT id, NEW.provider, caller, status, created_at, expires_at FROM signature WHERE id = NEW.signature_id
      ON CONFLICT DO NOTHING;
      RETURN NULL;
    END
    $$
  `.execute(db)
  await sql`
    CREATE FUNCTION note_signature() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
      UPDATE signature_provider
      SET caller = NEW.caller, status = NEW.status, created_at = NEW.created_at, expires_at = NEW.expires_at
      WHERE signature_id = NEW.id;
      RETURN NULL;
    END
    $$
  `.execute(db)
  await sql`
    CREATE TRIGGER note_provider AFTER INSERT ON challenge FOR EACH ROW EXECUTE FUNCTION note_provider()
  `.execute(db)
  await sql`
    CREATE TRIGGER note_signature AFTER UPDATE ON signature FOR EACH ROW EXECUTE FUNCTION note_signature()
  `.execute(db)
  await sql`
    INSERT INTO signature_provider (signature_id, provider, caller, status, created_at, expires_at)
    SELECT DISTINCT signature.id, provider, caller, signature.status, signature.created_at, signature.expires_at
    FROM challenge JOIN signature ON signature.id = signature_id
  `.execute(db)
  // Only now: row by row they would take several times as long.
  await db.schema
    .alterTable('signature_provider')
    .addPrimaryKeyConstraint('signature_provider_pkey', ['signature_id', 'provider'])
    .execute()
  await db.schema
    .alterTable('signature_provider')
    .addForeignKeyConstraint('signature_provider_signature_id_fkey', ['signature_id'], 'signature', ['id'])
    .onDelete('cascade')
    .execute()
  await db.schema
    .createIndex('signature_provider_by_status')
    .on('signature_provider')
    .columns(['caller', 'provider', 'status', 'created_at', 'signature_id'])
    .execute()
}

export async function down(db: Kysely<unknown>): Promise<void> {
  await sql`DROP TRIGGER note_signature ON signature`.execute(db)
  await sql`DROP TRIGGER note_provider ON challenge`.execute(db)
  await sql`DROP FUNCTION note_signature`.execute(db)
  await sql`DROP FUNCTION note_provider`.execute(db)
  await db.schema.dropTable('signature_provider').execute()
  await db.schema.dropIndex('signature_by_customer').execute()
  await db.schema.dropIndex('signature_by_status').execute()
  await db.schema.createIndex('signature_by_caller').on('signature').columns(['caller', 'id']).execute()
  await db.schema
    .createIndex('signature_by_customer')
    .on('signature')
    .columns(['caller', 'customer_hmac', 'id'])
    .execute()
  await db.schema.createIndex('signature_by_status').on('signature').columns(['caller', 'status', 'id']).execute()
  await db.schema.createIndex('challenge_by_provider').on('challenge').columns(['provider', 'signature_id']).execute()
}
