import { createHash, createHmac, randomBytes, randomUUID } from 'node:crypto'
import { SignJWT } from 'jose'
import { sql } from 'kysely'
import { inject } from 'vitest'
import type { App } from './app.ts'

/** A request to a webhook. */
export interface Webhook {
  /** Path and query. */
  target: string
  headers: Record<string, string>
  body: string
}

/** What becomes of a message, as its vendor tells. */
export interface Told {
  challengeId: string
  attempt?: number
  sid: string
  status: string
  errorCode?: string | undefined
}

/** The text that Twilio signs: https://www.twilio.com/docs/usage/security#validating-requests */
export function twilioText(url: string, params: Record<string, string>): string {
  const names = Object.keys(params).sort()
  return url + names.map((name) => name + params[name]).join('')
}

/** What Twilio puts into X-Twilio-Signature. */
export function twilioSignature(token: string, url: string, params: Record<string, string>): string {
  return createHmac('sha1', token).update(twilioText(url, params)).digest('base64')
}

/** A form as Twilio posts it to this target of a service. */
export function fromTwilio({ server }: Pick<App, 'server'>, target: string, params: Record<string, string>): Webhook {
  const { authToken } = inject('accounts').twilio
  return {
    target,
    headers: {
      'content-type': 'application/x-www-form-urlencoded',
      'x-twilio-signature': twilioSignature(authToken, `http://127.0.0.1:${server.httpPort}${target}`, params),
    },
    body: new URLSearchParams(params).toString(),
  }
}

export function twilioTarget({ challengeId, attempt = 1 }: Pick<Told, 'challengeId' | 'attempt'>, kind = 'messages') {
  return `/webhooks/twilio/${kind}?challenge=${challengeId}&attempt=${attempt}`
}

/** What Twilio tells of a text message. */
export function twilioParams({ sid, status, errorCode }: Omit<Told, 'challengeId'>): Record<string, string> {
  return {
    AccountSid: inject('accounts').twilio.accountSid,
    ApiVersion: '2010-04-01',
    From: '+15005550006',
    MessageSid: sid,
    MessageStatus: status,
    SmsSid: sid,
    SmsStatus: status,
    To: '+34600111222',
    ...(errorCode && { ErrorCode: errorCode }),
  }
}

/** A receipt of a text message, as Twilio signs it. */
export function twilioReceipt(app: Pick<App, 'server'>, told: Told): Webhook {
  return fromTwilio(app, twilioTarget(told), twilioParams(told))
}

/** What Vonage tells of a text message. */
export function vonageBody({ challengeId, attempt = 1, sid, status, errorCode }: Told): Record<string, unknown> {
  return {
    message_uuid: sid,
    to: '34600111222',
    from: 'Bank',
    timestamp: '2026-01-01T00:00:00.000Z',
    status,
    client_ref: `${challengeId}.${attempt}`,
    channel: 'sms',
    ...(errorCode && { error: { type: `https://developer.vonage.com/api-errors/messages#${errorCode}`, title: 1 } }),
  }
}

/** A receipt of a text message, as Vonage signs it. */
export async function vonageReceipt(told: Told): Promise<Webhook> {
  const { apiKey, signatureSecret = '' } = inject('accounts').vonage
  const body = JSON.stringify(vonageBody(told))
  const payload_hash = createHash('sha256').update(body).digest('hex')
  const token = await new SignJWT({ api_key: apiKey, payload_hash, jti: randomUUID() })
    .setProtectedHeader({ alg: 'HS256' })
    .setIssuedAt()
    .sign(Buffer.from(signatureSecret))
  return { target: '/webhooks/vonage/messages', headers: { authorization: `Bearer ${token}` }, body }
}

/** Posts to a service's webhook; gives the HTTP status. */
export async function post({ server }: Pick<App, 'server'>, { target, headers, body }: Webhook): Promise<number> {
  const response = await fetch(`http://127.0.0.1:${server.httpPort}${target}`, { method: 'POST', headers, body })
  await response.text()
  return response.status
}

/** An id of a message as Twilio makes them. */
export function newSid(): string {
  return `SM${randomBytes(16).toString('hex')}`
}

/** Once the sandbox has had an answer to so many receipts, or given up. Their statuses and answers. */
export async function reported({ sandbox }: Pick<App, 'sandbox'>, total: number): Promise<unknown[]> {
  while (sandbox.receipts.length < total) await sandbox.nextReceipt()
  return sandbox.receipts.map(({ status, answer }) => [status, answer])
}

/** The receipts that are kept for a challenge, oldest first. */
export function keptReceipts({ db }: Pick<App, 'db'>, challengeId: string) {
  return db.selectFrom('receipt').selectAll().where('challenge_id', '=', challengeId).orderBy('id').execute()
}

/** Every row of every table. */
export async function dumpRows({ db }: Pick<App, 'db'>): Promise<Record<string, string[]>> {
  const tables = await sql<{ name: string }>`
    SELECT table_name AS name FROM information_schema.tables WHERE table_schema = 'public' ORDER BY 1
  `.execute(db)
  const dump: Record<string, string[]> = {}
  for (const { name } of tables.rows) {
    const { rows } = await sql<{ line: string }>`SELECT t::text AS line FROM ${sql.table(name)} t ORDER BY 1`.execute(
      db,
    )
    dump[name] = rows.map(({ line }) => line)
  }
  return dump
}

/** As a process leaves a challenge that dies between the vendor's answer and its own write. */
export async function forgetSend({ db }: Pick<App, 'db'>, challengeId: string): Promise<void> {
  await sql`DELETE FROM attempt WHERE challenge_id = ${challengeId}`.execute(db)
  await sql`DELETE FROM timeline WHERE challenge_id = ${challengeId} AND type = 'CHALLENGE_SENT'`.execute(db)
  await sql`
    UPDATE challenge SET status = 'PENDING', delivery_status = NULL, provider_challenge_id = NULL,
      provider_proof = NULL, sent_at = NULL, receipt_due_at = NULL
    WHERE id = ${challengeId}
  `.execute(db)
}
