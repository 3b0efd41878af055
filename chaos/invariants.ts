import type { Customer } from './customers.ts'
import { violate, type World } from './world.ts'

/**
 * Each selects what must never be: the signature, and what is wrong with it. Sweepers look every 2 s, and the database may
 * be away for a few more: 12 s is well within the 60 s that are allowed, and within the time that a code lives here.
 */
const NEVER: Readonly<Record<string, string>> = {
  'at most one live code': `
    SELECT signature_id, count(*) AS wrong FROM challenge WHERE status IN ('PENDING', 'SENT')
    GROUP BY signature_id HAVING count(*) > 1`,
  'tries within the limit': `
    SELECT signature_id, tries_used AS wrong FROM challenge WHERE tries_used > max_tries
    UNION ALL
    SELECT signature_id, count(*) FROM timeline WHERE type IN ('CODE_REJECTED', 'SIGNATURE_SIGNED')
    GROUP BY signature_id
    HAVING count(*) > (SELECT max(tries_used) FROM challenge WHERE challenge.signature_id = timeline.signature_id)`,
  'provider calls within the limit': `
    SELECT signature_id, count(*) AS wrong FROM attempt JOIN challenge ON challenge.id = challenge_id
    GROUP BY challenge.id HAVING count(*) > 4 OR max(number) <> count(*)`,
  'no call after one that was the last word': `
    SELECT signature_id, attempt.outcome AS wrong FROM attempt JOIN challenge ON challenge.id = challenge_id
    WHERE outcome NOT IN ('transient', 'unknown')
      AND EXISTS (SELECT FROM attempt later WHERE later.challenge_id = attempt.challenge_id AND later.number > attempt.number)`,
  'every end has its timeline': `
    SELECT id AS signature_id, status AS wrong FROM signature
    WHERE (SELECT coalesce(string_agg(type, ' '), 'SIGNATURE_PENDING') FROM timeline
      WHERE signature_id = signature.id AND type IN ('SIGNATURE_SIGNED', 'SIGNATURE_FAILED', 'SIGNATURE_EXPIRED', 'SIGNATURE_ABORTED')
      ) <> 'SIGNATURE_' || status`,
  'every challenge has its timeline': `
    SELECT signature_id, id::text || ' ' || status AS wrong FROM challenge
    WHERE NOT EXISTS (SELECT FROM timeline WHERE challenge_id = challenge.id AND type = 'CHALLENGE_STARTED')
      OR sent_at IS NOT NULL
        AND NOT EXISTS (SELECT FROM timeline WHERE challenge_id = challenge.id AND type = 'CHALLENGE_SENT')
      OR delivery_status = 'UNKNOWN'
        AND NOT EXISTS (SELECT FROM timeline WHERE challenge_id = challenge.id AND type = 'CHALLENGE_OUTCOME_UNKNOWN')
      OR status = 'FAILED' AND NOT EXISTS (SELECT FROM timeline
        WHERE challenge_id = challenge.id AND type IN ('CHALLENGE_FAILED', 'SIGNATURE_FAILED'))`,
  'a timeline without gaps': `
    SELECT signature_id, count(*) AS wrong FROM timeline GROUP BY signature_id HAVING max(position) <> count(*)`,
  'signature and challenges agree': `
    SELECT id AS signature_id, status AS wrong FROM signature
    WHERE (status = 'SIGNED') <> EXISTS (SELECT FROM challenge WHERE signature_id = signature.id AND status = 'COMPLETED')
      OR (status = 'PENDING')
        <> EXISTS (SELECT FROM challenge WHERE signature_id = signature.id AND status IN ('PENDING', 'SENT'))`,
  'every signature has its key': `
    SELECT id AS signature_id, 'no key' AS wrong FROM signature
    WHERE NOT EXISTS (SELECT FROM idempotency_key WHERE signature_id = signature.id)`,
  'no lapsed lease for over 12 s': `
    SELECT signature_id, lease_expires_at AS wrong FROM challenge
    WHERE status = 'PENDING' AND delivery_status IS NULL AND lease_expires_at < now() - interval '12 s'`,
  'no fallback is due for over 12 s': `
    SELECT signature_id, fallback_due_at AS wrong FROM challenge
    WHERE status IN ('PENDING', 'SENT') AND fallback_due_at < now() - interval '12 s'`,
  'nothing expired is open for over 12 s': `
    SELECT id AS signature_id, expires_at AS wrong FROM signature
    WHERE status = 'PENDING' AND expires_at < now() - interval '12 s'`,
}

/** Looks for what must never be in the whole database. Each signature is told of once. */
export function createDatabaseCheck(world: World): () => Promise<void> {
  const known = new Set<string>()
  return async () => {
    for (const [invariant, sql] of Object.entries(NEVER)) {
      for (const row of await world.query(sql)) {
        const name = `${invariant} ${row.signature_id}`
        if (known.has(name)) continue
        known.add(name)
        violate(world, invariant, `${row.wrong}\n${await storyOf(world, String(row.signature_id))}`)
      }
    }
  }
}

/** Compares what the database says of a customer with what they were told and what the vendor saw. */
export async function checkCustomer(world: World, customer: Customer): Promise<void> {
  const { key, phone } = customer
  const calls = world.vendor.calls(phone)
  const messages = world.vendor.codes(phone).length
  const [row] = await world.query(
    `SELECT signature.id, status,
       (SELECT max(tries_used) FROM challenge WHERE signature_id = signature.id) AS tries,
       ARRAY(SELECT challenge_id || ' ' || number || ' ' || coalesce(outcome, '') FROM attempt
         JOIN challenge ON challenge.id = challenge_id WHERE signature_id = signature.id ORDER BY started_at) AS attempts
     FROM idempotency_key JOIN signature ON signature.id = signature_id WHERE key = $1`,
    [key],
  )
  const bad: [invariant: string, detail: string][] = []
  if (!row) {
    if (customer.signatureId) bad.push(['nothing accepted is lost', `${customer.signatureId} has no row`])
    if (calls.length > 0) bad.push(['no message without a row', `${calls.length} calls`])
  } else {
    const attempts = (row.attempts as string[]).map((text) => text.split(' '))
    const outcomes = attempts.map(([, , outcome]) => outcome)
    const rows = new Set(attempts.map(([challenge, number]) => `${challenge} ${number}`))
    const called = calls.map(({ challengeId, attempt }) => `${challengeId} ${attempt}`)
    for (const call of called) if (!rows.has(call)) bad.push(['every call has an attempt', `call ${call} has none`])
    if (new Set(called).size < called.length) bad.push(['every attempt is one call', called.join(', ')])
    for (const [challenge, codes] of Map.groupBy(calls, ({ challengeId }) => challengeId)) {
      if (new Set(codes.map(({ code }) => code)).size > 1) bad.push(['one code for each challenge', challenge])
    }
    if (messages > calls.length) bad.push(['messages within calls', `${messages} of ${calls.length}`])
    const isPlain = outcomes.length > 0 && outcomes.every((outcome) => outcome === 'sent')
    if (isPlain && messages !== 1) bad.push(['one message for a plain start', `${messages} messages`])
    if (customer.told.includes('SENT') && messages === 0) bad.push(['what is SENT was sent', 'no message'])
    if (customer.signatureId !== undefined && row.id !== customer.signatureId) {
      bad.push(['one signature per key', `${row.id} in the database, ${customer.signatureId} told`])
    }
    if (customer.rejected + customer.signed > Number(row.tries)) {
      const told = `${customer.rejected} rejected, ${customer.signed} signed`
      bad.push(['every comparison took a try', `${told}, ${row.tries} tries`])
    }
    if (row.status === 'EXPIRED' && customer.mayExpire) customer.state = 'EXPIRED'
    const waits = row.status === 'PENDING' && (customer.state === 'EXPIRED' || customer.mayExpire)
    if (customer.state && row.status !== customer.state && !waits) {
      bad.push(['rows are what was told', `${row.status} in the database, ${customer.state} told`])
    }
  }
  if (customer.signed > 1) bad.push(['no code accepted twice', `${customer.signed} times`])
  if (bad.length === 0) return
  const story = await storyOf(world, String(row?.id ?? customer.signatureId))
  const about = `${key} (${customer.script}${customer.fault ? `, ${customer.fault.name}` : ''}), told ${customer.told.join(', ')}`
  for (const [invariant, detail] of bad) violate(world, invariant, `${about}: ${detail}\n${story}`)
}

/** What must come of a provider's fault when nothing else went wrong. */
export function checkFault(world: World, customer: Customer, attempts: number): void {
  const { key, phone, fault } = customer
  if (!fault) return
  const messages = world.vendor.codes(phone).length
  const got = `told ${customer.told.join(', ')} after ${attempts} attempts, ${messages} messages`
  const isRight = customer.told.every((told) => told === fault.told) && attempts === fault.attempts
  const least = fault.told === 'SENT' ? 1 : 0
  if (!isRight || messages > fault.messages || messages < Math.min(least, fault.messages)) {
    const wanted = `wanted ${fault.told} after ${fault.attempts} attempts, ${fault.messages} messages`
    violate(world, 'a provider fault leads to what it should', `${fault.name} (${key}): ${got}; ${wanted}`)
  }
}

/** A signature's rows, for whoever has to understand a violation. */
async function storyOf(world: World, signatureId: string): Promise<string> {
  if (!/^[0-9a-f-]{36}$/.test(signatureId)) return `  no signature (${signatureId})`
  const rows = await world.query(
    `SELECT line FROM (
       SELECT 0 AS nr, created_at AS at, format('signature %s %s, expires %s', id, status, expires_at) AS line
         FROM signature WHERE id = $1
       UNION ALL SELECT 1, created_at, format('challenge %s %s, delivery %s, tries %s, lease %s', id, status,
         delivery_status, tries_used, lease_expires_at) FROM challenge WHERE signature_id = $1
       UNION ALL SELECT 2, started_at, format('attempt %s of %s: %s %s', number, challenge_id, outcome,
         attempt.provider_error_code) FROM attempt JOIN challenge ON id = challenge_id WHERE signature_id = $1
       UNION ALL SELECT 3, created_at, format('timeline %s %s %s', created_at, type, details) FROM timeline
         WHERE signature_id = $1
     ) lines ORDER BY nr, at`,
    [signatureId],
  )
  return rows.map(({ line }) => `  ${line}`).join('\n')
}
