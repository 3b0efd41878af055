import { createHash, randomBytes, randomUUID } from 'node:crypto'
import { SignJWT } from 'jose'
import type { ReceiptPlan } from '../dialect.ts'
import type { VonageAccount } from './vonage-api.ts'

/** Unknown error from the carrier: https://developer.vonage.com/en/api-errors/messages */
const UNKNOWN_ERROR = 1330

/** What Vonage posts to a message's webhook_url: https://developer.vonage.com/en/api/messages#message-status */
export function vonageReceipts(account: VonageAccount, message: Record<string, unknown>, sid: string): ReceiptPlan {
  const { webhook_url: url, to, from, client_ref } = message
  return {
    course: [{ status: 'submitted' }, { status: 'delivered' }],
    async request({ status, errorCode }) {
      if (typeof url !== 'string') return undefined
      const hasFailed = status === 'rejected' || status === 'undeliverable'
      const code = errorCode ?? (hasFailed ? UNKNOWN_ERROR : undefined)
      const body = JSON.stringify({
        message_uuid: sid,
        to,
        from,
        timestamp: new Date().toISOString(),
        status,
        ...(code === undefined
          ? { usage: { currency: 'EUR', price: '0.0333' }, destination: { network_code: '21401' } }
          : { error: errorOf(code) }),
        client_ref,
        channel: 'sms',
        sms: { count_total: '1' },
      })
      const headers = { 'Content-Type': 'application/json', ...(await authorization(account, body)) }
      return { url, headers, body }
    },
    // Vonage goes on for 24 hours, here it comes once more: https://api.support.vonage.com/hc/en-us/articles/360028543292
    isRetried: (answer, sent) => sent === 1 && (typeof answer === 'string' || answer === 429 || answer >= 500),
  }
}

/** The title is the code, as in the reference's example. */
function errorOf(code: number | string): object {
  return {
    type: `https://developer.vonage.com/api-errors/messages#${code}`,
    title: code,
    detail: code === UNKNOWN_ERROR ? 'Unknown' : `Error ${code}`,
    instance: randomBytes(16).toString('hex'),
  }
}

/** The signed webhook of https://developer.vonage.com/en/getting-started/concepts/webhooks#decoding-signed-webhooks */
async function authorization(
  { apiKey, signatureSecret }: VonageAccount,
  body: string,
): Promise<Record<string, string>> {
  if (signatureSecret === undefined) return {}
  const payload_hash = createHash('sha256').update(body).digest('hex')
  const token = await new SignJWT({ api_key: apiKey, payload_hash })
    .setProtectedHeader({ alg: 'HS256', typ: 'JWT' })
    .setIssuer('Vonage')
    .setIssuedAt()
    .setJti(randomUUID())
    .sign(new TextEncoder().encode(signatureSecret))
  return { Authorization: `Bearer ${token}` }
}
