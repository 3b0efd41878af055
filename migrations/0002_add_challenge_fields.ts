import { type Kysely, sql } from 'kysely'

export async function up(db: Kysely<unknown>): Promise<void> {
  await db.schema
    .alterTable('challenge')
    .addColumn('code_hmac', 'bytea')
    .addColumn('code_key_id', 'text')
    .addColumn('expires_at', 'timestamptz')
    .execute()

  // A challenge from before this has no code that could be right: it gets no key, an HMAC of nothing, and its signature's expiry.
  await sql`
    UPDATE challenge SET
      code_hmac = '',
      code_key_id = '',
      expires_at = (SELECT expires_at FROM signature WHERE signature.id = challenge.signature_id)
  `.execute(db)

  await db.schema
    .alterTable('challenge')
    .alterColumn('code_hmac', (c) => c.setNotNull())
    .alterColumn('code_key_id', (c) => c.setNotNull())
    .alterColumn('expires_at', (c) => c.setNotNull())
    .execute()
}

export async function down(db: Kysely<unknown>): Promise<void> {
  await db.schema
    .alterTable('challenge')
    .dropColumn('code_hmac')
    .dropColumn('code_key_id')
    .dropColumn('expires_at')
    .execute()
}
