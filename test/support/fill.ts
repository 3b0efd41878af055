import { sql } from 'kysely'
import type { Db } from '../../src/db/database.ts'
import { transactionDigest } from '../../src/domain/transaction.ts'

export interface Filling {
  count: number
  /** How long ago the latest was started. */
  ageMs: number
  /** Between two starts; a second unless told. */
  everyMs?: number
  /** Of all of them; unless told, a mix of those that have ended. */
  status?: 'PENDING' | 'SIGNED'
}

/** What each of them was started with. */
const DIGEST = transactionDigest({
  amount: { currency: 'EUR', units: 125n, nanos: 500_000_000 },
  payeeName: 'ACME Ltd',
  payeeAccount: 'ES9121000418450200051332',
  transactionType: '',
  reference: '',
})

/** Writes signatures with all that belongs to them straight into the tables, thousands within a second. */
export async function fill(db: Db, { count, ageMs, everyMs = 1_000, status }: Filling): Promise<void> {
  await db.transaction().execute(async (trx) => {
    // Without triggers and checks of foreign keys, which take most of the time.
    await sql`SET LOCAL session_replication_role = replica`.execute(trx)
    await sql`
      CREATE TEMPORARY TABLE filling ON COMMIT DROP AS
      SELECT n, gen_random_uuid() AS challenge_id, uuidv7(at - now()) AS id, at, coalesce(
        ${status ?? null}, CASE n % 10 WHEN 1 THEN 'FAILED' WHEN 2 THEN 'EXPIRED' WHEN 3 THEN 'ABORTED' ELSE 'SIGNED' END
      ) AS status
      FROM generate_series(0, ${count}::integer - 1) n,
        LATERAL (SELECT now() - (${ageMs}::float8 + n * ${everyMs}::float8) * interval '1 ms' AS at) started
    `.execute(trx)
    await sql`
      INSERT INTO signature (id, caller, status, customer_hmac, phone_hmac, phone_ciphertext, phone_key_id, phone_masked,
        locale, amount, currency, payee_name, payee_account, transaction_type, reference, transaction_digest,
        created_at, expires_at, completed_at)
      SELECT id, 'anonymous', status, sha256(convert_to('customer ' || n % 1000, 'UTF8')), 'phone', 'sealed', 'p1',
        '+34*****222', 'en', 125.5, 'EUR', 'ACME Ltd', 'ES9121000418450200051332', '', '', ${DIGEST}::bytea,
        at, at + interval '300 s', CASE WHEN status <> 'PENDING' THEN at + interval '30 s' END
      FROM filling
    `.execute(trx)
    await sql`
      INSERT INTO challenge (id, signature_id, channel, provider, route, routing_table_version, status, delivery_status,
        provider_challenge_id, provider_proof, max_tries, failure_reason, created_at, sent_at, code_hmac, code_key_id,
        expires_at)
      SELECT challenge_id, id, 'SMS', CASE WHEN n % 100 = 5 THEN 'vonage-sms' ELSE 'twilio-sms' END, '{"priority": 1000}',
        1, CASE status WHEN 'PENDING' THEN 'SENT' WHEN 'SIGNED' THEN 'COMPLETED' WHEN 'ABORTED' THEN 'CANCELLED' ELSE status END,
        'DELIVERED', 'SM' || n, '{}', 3, CASE status WHEN 'FAILED' THEN 'TRIES_EXHAUSTED' END, at, at, 'hmac', 'k1',
        at + interval '300 s'
      FROM filling
    `.execute(trx)
    await sql`
      INSERT INTO signature_provider (signature_id, provider, caller, status, created_at, expires_at)
      SELECT signature.id, provider, caller, signature.status, signature.created_at, signature.expires_at
      FROM filling JOIN signature USING (id) JOIN challenge ON challenge.id = challenge_id
    `.execute(trx)
    await sql`
      INSERT INTO idempotency_key (caller, key, fingerprint, signature_id)
      SELECT 'anonymous', id, 'fingerprint', id FROM filling
    `.execute(trx)
    await sql`
      INSERT INTO attempt (challenge_id, number, outcome, started_at, ended_at)
      SELECT challenge_id, 1, 'sent', at, at FROM filling
    `.execute(trx)
    await sql`
      INSERT INTO timeline (signature_id, position, type, challenge_id, details)
      SELECT id, 1, 'SIGNATURE_STARTED', NULL, '{}'::jsonb FROM filling
      UNION ALL SELECT id, 2, 'CHALLENGE_STARTED', challenge_id, '{}' FROM filling
    `.execute(trx)
    await sql`
      INSERT INTO receipt (challenge_id, attempt, provider_challenge_id, vendor_status, body_ciphertext, body_key_id,
        signature, key_name)
      SELECT challenge_id, 1, 'SM' || n, 'delivered', 'sealed', 'p1', 'signature', 'TWILIO_AUTH_TOKEN' FROM filling
    `.execute(trx)
  })
}
