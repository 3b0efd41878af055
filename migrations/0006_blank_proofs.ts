import { type Kysely, type RawBuilder, sql } from 'kysely'

const HEADERS = [
  'content-type',
  'date',
  'server',
  'twilio-request-id',
  'twilio-request-duration',
  'x-home-region',
  'x-api-domain',
  'x-request-id',
  'request-id',
  'x-correlation-id',
  'x-nexmo-trace-id',
]

const JWT = '^[A-Za-z0-9_-]+\\.[A-Za-z0-9_-]+\\.[A-Za-z0-9_-]+$'

/** The least UUIDv7 of an hour before the migration began. What was open by then, or came since, is younger. */
const HOUR_AGO = sql`
  (lpad(to_hex((extract(epoch FROM now() - interval '1 hour') * 1000)::bigint), 12, '0') || repeat('0', 20))::uuid
`

export async function up(db: Kysely<unknown>): Promise<void> {
  // Without the hash of an answer, from which the code could be found, and of its headers those that name the exchange, but
  // none with so many digits together as a code or a phone number has.
  await sql`
    CREATE FUNCTION blank_proof(proof jsonb) RETURNS jsonb LANGUAGE sql IMMUTABLE AS $$
      WITH kept AS (
        SELECT coalesce(jsonb_object_agg(name, left(value, 256)), '{}') AS headers
        FROM jsonb_each_text(proof->'headers') header (name, value)
        WHERE name IN (${sql.join(HEADERS.map((name) => sql.lit(name)))})
          AND value !~ '(?<![0-9A-Za-z])[0-9]{6,}(?![0-9A-Za-z])'
      )
      SELECT CASE WHEN proof ? 'headers' THEN
        proof - 'bodySha256' - 'signature' || jsonb_build_object(
          'headers', headers,
          'requestId', coalesce(headers->'twilio-request-id', headers->'x-request-id', headers->'request-id', 'null')
        )
      ELSE proof - 'bodySha256' - 'signature' END
      FROM kept
    $$
  `.execute(db)
  // A JWT without its claim of the body's hash, from which the phone number could be found; who has the body can put it back.
  await sql`
    CREATE FUNCTION blank_signature(signature text) RETURNS text LANGUAGE sql IMMUTABLE AS $$
      SELECT concat_ws('.', part[1], translate(encode(convert_to(
        regexp_replace(
          convert_from(decode(rpad(translate(part[2], '-_', '+/'), (length(part[2]) + 3) / 4 * 4, '='), 'base64'), 'UTF8'),
          '("payload_hash"\\s*:\\s*")[0-9a-fA-F]+', '\\1'
        ), 'UTF8'), 'base64'), E'+/=\\n', '-_'), part[3])
      FROM string_to_array(signature, '.') part
    $$
  `.execute(db)
  // Takes its time, so before any table is locked and without the challenges that callers may be waiting for.
  await blank(db, { challenges: sql`status NOT IN ('PENDING', 'SENT')`, receipts: sql`true` })

  // The version before goes on writing as it did until it is gone.
  await sql`
    CREATE FUNCTION blank_old_receipt() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
      NEW.signature := blank_signature(NEW.signature);
      RETURN NEW;
    END
    $$
  `.execute(db)
  await sql`
    CREATE TRIGGER blank_old_receipt BEFORE INSERT ON receipt FOR EACH ROW
    WHEN (NEW.signature ~ ${sql.lit(JWT)}) EXECUTE FUNCTION blank_old_receipt()
  `.execute(db)
  await sql`
    CREATE FUNCTION blank_old_proof() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
      NEW.provider_proof := blank_proof(NEW.provider_proof);
      RETURN NEW;
    END
    $$
  `.execute(db)
  await sql`
    CREATE TRIGGER blank_old_proof BEFORE INSERT OR UPDATE ON challenge FOR EACH ROW
    WHEN (NEW.provider_proof ? 'bodySha256') EXECUTE FUNCTION blank_old_proof()
  `.execute(db)
  await blank(db, { challenges: sql`id >= ${HOUR_AGO}`, receipts: sql`received_at > now() - interval '1 hour'` })

  await db.schema
    .alterTable('attempt')
    .addColumn('exchange_ciphertext', 'bytea')
    .addColumn('exchange_key_id', 'text')
    .execute()
  await db.schema
    .alterTable('attempt')
    .addCheckConstraint('attempt_exchange_key', sql`(exchange_ciphertext IS NULL) = (exchange_key_id IS NULL)`)
    .execute()
}

async function blank(db: Kysely<unknown>, only: Record<'challenges' | 'receipts', RawBuilder<unknown>>): Promise<void> {
  await sql`
    UPDATE challenge SET provider_proof = blank_proof(provider_proof)
    WHERE provider_proof ? 'bodySha256' AND ${only.challenges}
  `.execute(db)
  await sql`
    UPDATE receipt SET signature = blank_signature(signature) WHERE signature ~ ${JWT} AND ${only.receipts}
  `.execute(db)
}

/** What was blanked stays so. */
export async function down(db: Kysely<unknown>): Promise<void> {
  await db.schema.alterTable('attempt').dropColumn('exchange_ciphertext').dropColumn('exchange_key_id').execute()
  await sql`DROP TRIGGER blank_old_proof ON challenge`.execute(db)
  await sql`DROP TRIGGER blank_old_receipt ON receipt`.execute(db)
  for (const name of ['blank_old_proof', 'blank_old_receipt', 'blank_proof', 'blank_signature']) {
    await sql`DROP FUNCTION ${sql.ref(name)}`.execute(db)
  }
}
