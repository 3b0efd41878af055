import { type Kysely, sql } from 'kysely'

export async function up(db: Kysely<unknown>): Promise<void> {
  await db.schema
    .createTable('routing_table')
    .addColumn('version', 'integer', (c) => c.primaryKey().check(sql`version >= 1`))
    .addColumn('author', 'text', (c) => c.notNull())
    .addColumn('reason', 'text', (c) => c.notNull())
    .addColumn('published_at', 'timestamptz', (c) => c.notNull().defaultTo(sql`clock_timestamp()`))
    .addColumn('routes', 'jsonb', (c) => c.notNull())
    .execute()
  // The rows that were in force are the first version.
  await sql`
    INSERT INTO routing_table (version, author, reason, routes)
    SELECT 1, 'migration', 'the rows in force before tables had versions', coalesce(
      jsonb_agg(
        jsonb_build_object(
          'priority', priority,
          'match', jsonb_build_object(
            'channel', NULL,
            'country', NULL,
            'callingPrefix', calling_prefix,
            'transactionType', transaction_type,
            'customerSegment', NULL,
            'amount', CASE WHEN currency IS NOT NULL THEN jsonb_build_object(
              'currency', currency,
              'min', trim_scale(min_amount)::text,
              'max', trim_scale(max_amount)::text
            ) END,
            'timeWindow', NULL
          ),
          'channels', jsonb_build_array(jsonb_build_object(
            'channel', channel,
            'providers', jsonb_build_array(jsonb_build_object('provider', provider, 'weight', 1))
          ))
        ) ORDER BY priority
      ), '[]')
    FROM route WHERE enabled
  `.execute(db)
  await db.schema.dropTable('route').execute()

  await db.schema
    .createTable('provider_switch')
    .addColumn('id', 'bigint', (c) => c.primaryKey().generatedAlwaysAsIdentity())
    .addColumn('provider', 'text', (c) => c.notNull())
    .addColumn('paused_until', 'timestamptz')
    .addColumn('author', 'text', (c) => c.notNull())
    .addColumn('reason', 'text', (c) => c.notNull())
    .addColumn('set_at', 'timestamptz', (c) => c.notNull().defaultTo(sql`clock_timestamp()`))
    .execute()
  await db.schema.createIndex('provider_switch_latest').on('provider_switch').columns(['provider', 'id']).execute()

  // Replicas listen, so that what one of them publishes rules on all at once, also when it was written by hand.
  await sql`
    CREATE FUNCTION notify_routing() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
      PERFORM pg_notify('routing', '');
      RETURN NULL;
    END
    $$
  `.execute(db)
  for (const table of ['routing_table', 'provider_switch']) {
    await sql`
      CREATE TRIGGER notify_routing AFTER INSERT OR UPDATE OR DELETE ON ${sql.table(table)}
      FOR EACH STATEMENT EXECUTE FUNCTION notify_routing()
    `.execute(db)
  }

  await db.schema
    .alterTable('challenge')
    .addColumn('routing_table_version', 'integer', (c) => c.references('routing_table.version'))
    .addColumn('choice', 'text')
    .addColumn('passed_over', 'jsonb', (c) => c.notNull().defaultTo(sql`'[]'`))
    .execute()
  await db.schema
    .alterTable('signature')
    .addColumn('requested_channel', 'text', (c) => c.check(sql`requested_channel IN ('SMS', 'VOICE', 'PUSH')`))
    .addColumn('customer_segment', 'text', (c) => c.notNull().defaultTo(''))
    .addColumn('push_token_ciphertext', 'bytea')
    .addColumn('push_token_key_id', 'text')
    .execute()
  await db.schema
    .alterTable('signature')
    .addCheckConstraint('signature_push_token_key', sql`(push_token_ciphertext IS NULL) = (push_token_key_id IS NULL)`)
    .execute()
}

export async function down(db: Kysely<unknown>): Promise<void> {
  await db.schema
    .alterTable('signature')
    .dropColumn('requested_channel')
    .dropColumn('customer_segment')
    .dropColumn('push_token_ciphertext')
    .dropColumn('push_token_key_id')
    .execute()
  await db.schema
    .alterTable('challenge')
    .dropColumn('routing_table_version')
    .dropColumn('choice')
    .dropColumn('passed_over')
    .execute()

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
  // Rows with conditions that the old table can't hold would match more than they should, and stay behind.
  await sql`
    INSERT INTO route (priority, channel, calling_prefix, transaction_type, currency, min_amount, max_amount, provider)
    SELECT
      (row->>'priority')::integer,
      row#>>'{channels,0,channel}',
      row#>>'{match,callingPrefix}',
      row#>>'{match,transactionType}',
      row#>>'{match,amount,currency}',
      (row#>>'{match,amount,min}')::numeric,
      (row#>>'{match,amount,max}')::numeric,
      row#>>'{channels,0,providers,0,provider}'
    FROM (SELECT routes FROM routing_table ORDER BY version DESC LIMIT 1) latest, jsonb_array_elements(routes) row
    WHERE coalesce(
      row#>>'{match,channel}', row#>>'{match,country}', row#>>'{match,customerSegment}', row#>>'{match,timeWindow}'
    ) IS NULL
  `.execute(db)
  await db.schema.dropTable('provider_switch').execute()
  await db.schema.dropTable('routing_table').execute()
  await sql`DROP FUNCTION notify_routing`.execute(db)
}
