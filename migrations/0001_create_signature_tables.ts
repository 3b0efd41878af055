import { type Kysely, sql } from 'kysely'

export async function up(db: Kysely<unknown>): Promise<void> {
  await db.schema
    .createTable('route')
    .addColumn('id', 'uuid', (c) => c.primaryKey().defaultTo(sql`gen_random_uuid()`))
    .addColumn('priority', 'integer', (c) => c.notNull().unique())
    .addColumn('channel', 'text', (c) => c.notNull().check(sql`channel IN ('SMS', 'VOICE', 'PUSH')`))
    .addColumn('calling_prefix', 'text', (c) => c.check(sql`calling_prefix ~ '^\\+[1-9][0-9]{0,14}$'`))
    .addColumn('transaction_type', 'text')
    .addColumn('currency', 'text', (c) => c.check(sql`currency ~ '^[A-Z]{3}$'`))
    .addColumn('min_amount', sql`numeric(28, 9)`)
    .addColumn('max_amount', sql`numeric(28, 9)`)
    .addColumn('provider', 'text', (c) => c.notNull())
    .addColumn('enabled', 'boolean', (c) => c.notNull().defaultTo(true))
    .addCheckConstraint(
      'route_amount_has_currency',
      sql`currency IS NOT NULL OR (min_amount IS NULL AND max_amount IS NULL)`,
    )
    .addCheckConstraint('route_amount_range', sql`min_amount >= 0 AND max_amount >= coalesce(min_amount, 0)`)
    .execute()
  await sql`INSERT INTO route (priority, channel, provider) VALUES (1000, 'SMS', 'twilio-sms')`.execute(db)

  await db.schema
    .createTable('signature')
    .addColumn('id', 'uuid', (c) => c.primaryKey())
    .addColumn('caller', 'text', (c) => c.notNull())
    .addColumn('status', 'text', (c) =>
      c.notNull().check(sql`status IN ('PENDING', 'SIGNED', 'FAILED', 'EXPIRED', 'ABORTED')`),
    )
    .addColumn('customer_hmac', 'bytea', (c) => c.notNull())
    .addColumn('phone_hmac', 'bytea', (c) => c.notNull())
    .addColumn('phone_ciphertext', 'bytea', (c) => c.notNull())
    .addColumn('phone_key_id', 'text', (c) => c.notNull())
    .addColumn('phone_masked', 'text', (c) => c.notNull())
    .addColumn('locale', 'text', (c) => c.notNull())
    .addColumn('amount', sql`numeric(28, 9)`, (c) => c.notNull().check(sql`amount > 0`))
    .addColumn('currency', 'text', (c) => c.notNull())
    .addColumn('payee_name', 'text', (c) => c.notNull())
    .addColumn('payee_account', 'text', (c) => c.notNull())
    .addColumn('transaction_type', 'text', (c) => c.notNull())
    .addColumn('reference', 'text', (c) => c.notNull())
    .addColumn('transaction_digest', 'bytea', (c) => c.notNull())
    .addColumn('created_at', 'timestamptz', (c) => c.notNull())
    .addColumn('expires_at', 'timestamptz', (c) => c.notNull())
    .addColumn('completed_at', 'timestamptz')
    .addCheckConstraint('signature_completed_when_final', sql`(status = 'PENDING') = (completed_at IS NULL)`)
    .execute()

  await db.schema
    .createTable('idempotency_key')
    .addColumn('caller', 'text', (c) => c.notNull())
    .addColumn('key', 'text', (c) => c.notNull())
    .addColumn('fingerprint', 'bytea', (c) => c.notNull())
    .addColumn('signature_id', 'uuid', (c) => c.notNull())
    .addColumn('created_at', 'timestamptz', (c) => c.notNull().defaultTo(sql`clock_timestamp()`))
    .addPrimaryKeyConstraint('idempotency_key_pkey', ['caller', 'key'])
    // Deferred: the key is claimed before the signature it names is written.
    .addForeignKeyConstraint('idempotency_key_signature_fkey', ['signature_id'], 'signature', ['id'], (fk) =>
      fk.onDelete('cascade').deferrable().initiallyDeferred(),
    )
    .execute()
  await db.schema.createIndex('idempotency_key_signature').on('idempotency_key').column('signature_id').execute()

  await db.schema
    .createTable('challenge')
    .addColumn('id', 'uuid', (c) => c.primaryKey())
    .addColumn('signature_id', 'uuid', (c) => c.notNull().references('signature.id').onDelete('cascade'))
    .addColumn('channel', 'text', (c) => c.notNull().check(sql`channel IN ('SMS', 'VOICE', 'PUSH')`))
    .addColumn('provider', 'text', (c) => c.notNull())
    .addColumn('route', 'jsonb', (c) => c.notNull())
    .addColumn('status', 'text', (c) =>
      c.notNull().check(sql`status IN ('PENDING', 'SENT', 'COMPLETED', 'FAILED', 'EXPIRED', 'CANCELLED')`),
    )
    .addColumn('delivery_status', 'text', (c) =>
      c.check(sql`delivery_status IN ('UNKNOWN', 'ACCEPTED', 'SENT', 'DELIVERED', 'UNDELIVERED')`),
    )
    .addColumn('lease_expires_at', 'timestamptz', (c) => c.notNull())
    .addColumn('provider_challenge_id', 'text')
    .addColumn('provider_proof', 'jsonb')
    .addColumn('tries_used', 'integer', (c) => c.notNull().defaultTo(0))
    .addColumn('max_tries', 'integer', (c) => c.notNull())
    .addColumn('failure_reason', 'text')
    .addColumn('provider_error_code', 'text')
    .addColumn('created_at', 'timestamptz', (c) => c.notNull())
    .addColumn('sent_at', 'timestamptz')
    .addCheckConstraint('challenge_tries', sql`tries_used BETWEEN 0 AND max_tries`)
    .addCheckConstraint('challenge_failed_with_reason', sql`(status = 'FAILED') = (failure_reason IS NOT NULL)`)
    .addCheckConstraint(
      'challenge_sent_with_proof',
      sql`status <> 'SENT' OR (sent_at IS NOT NULL AND provider_proof IS NOT NULL)`,
    )
    .execute()
  await db.schema.createIndex('challenge_signature').on('challenge').column('signature_id').execute()
  await sql`CREATE UNIQUE INDEX challenge_one_open ON challenge (signature_id) WHERE status IN ('PENDING', 'SENT')`.execute(
    db,
  )

  await db.schema
    .createTable('attempt')
    .addColumn('challenge_id', 'uuid', (c) => c.notNull().references('challenge.id').onDelete('cascade'))
    .addColumn('number', 'integer', (c) => c.notNull())
    .addColumn('outcome', 'text', (c) => c.notNull())
    .addColumn('provider_error_code', 'text')
    .addColumn('started_at', 'timestamptz', (c) => c.notNull())
    .addColumn('ended_at', 'timestamptz', (c) => c.notNull())
    .addPrimaryKeyConstraint('attempt_pkey', ['challenge_id', 'number'])
    .execute()

  await db.schema
    .createTable('timeline')
    .addColumn('signature_id', 'uuid', (c) => c.notNull().references('signature.id').onDelete('cascade'))
    .addColumn('position', 'integer', (c) => c.notNull())
    .addColumn('created_at', 'timestamptz', (c) => c.notNull().defaultTo(sql`clock_timestamp()`))
    .addColumn('type', 'text', (c) => c.notNull())
    .addColumn('challenge_id', 'uuid', (c) => c.references('challenge.id').onDelete('cascade'))
    .addColumn('details', 'jsonb', (c) => c.notNull())
    .addPrimaryKeyConstraint('timeline_pkey', ['signature_id', 'position'])
    .execute()
  await db.schema.createIndex('timeline_challenge').on('timeline').column('challenge_id').execute()
}

export async function down(db: Kysely<unknown>): Promise<void> {
  for (const table of ['timeline', 'attempt', 'challenge', 'idempotency_key', 'signature', 'route']) {
    await db.schema.dropTable(table).execute()
  }
}
