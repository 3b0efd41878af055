import { createHash } from 'node:crypto'
import { jwtVerify } from 'jose'
import { validate as isUuid } from 'uuid'
import type { DeliveryStatus } from '../../domain/challenge.ts'
import { isObject, jsonIn } from '../http-exchange.ts'
import type { ReceiptReader } from '../receipt-reader.ts'

export interface VonageReceiptsConfig {
  apiKey: string
  signatureSecret: string
}

/** https://developer.vonage.com/en/api/messages#message-status */
const STATUS: Record<string, DeliveryStatus> = {
  submitted: 'SENT',
  delivered: 'DELIVERED',
  read: 'DELIVERED',
  rejected: 'UNDELIVERED',
  undeliverable: 'UNDELIVERED',
}

export const VONAGE_MESSAGES_PATH = '/webhooks/vonage/messages'
/** Vonage's id of a message. */
export const MESSAGE_UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i
const WORD = /^[a-z_-]{1,40}$/
/** RFC 7807 has a URL there; Vonage's code is its fragment or the title. */
const CODE = /(?:#|^)([\w-]{1,64})$/

/** What `client_ref` says of the call that a message came from. */
export function vonageReference({ challengeId, attempt }: { challengeId: string; attempt: number }): string {
  return `${challengeId}.${attempt}`
}

/**
 * Receipts of text messages, whose JWT is signed with the account's signature secret and holds the body's hash:
 * https://developer.vonage.com/en/getting-started/concepts/webhooks#signed-webhooks
 */
export function vonageReceipts({ apiKey, signatureSecret }: VonageReceiptsConfig): ReceiptReader {
  const secret = Buffer.from(signatureSecret)
  return {
    path: VONAGE_MESSAGES_PATH,
    provider: 'vonage-sms',
    async read({ headers, rawBody }) {
      const [, token = ''] = /^Bearer (\S+)$/i.exec(headers.authorization ?? '') ?? []
      const claims = await jwtVerify(token, secret, { algorithms: ['HS256'] }).then(
        ({ payload }) => payload,
        () => undefined,
      )
      const hash = createHash('sha256').update(rawBody).digest('hex')
      if (!claims || claims.payload_hash !== hash || claims.api_key !== apiKey) return undefined
      const body = jsonIn(rawBody.toString())
      const { message_uuid: id, status, client_ref: reference, error } = body
      const [challengeId = '', attempt = '', ...rest] = typeof reference === 'string' ? reference.split('.') : []
      if (typeof id !== 'string' || !MESSAGE_UUID.test(id) || typeof status !== 'string' || !WORD.test(status))
        return undefined
      if (!isUuid(challengeId) || !/^[1-9][0-9]{0,2}$/.test(attempt) || rest.length > 0) return undefined
      return {
        challengeId,
        attempt: Number(attempt),
        provider: 'vonage-sms',
        providerChallengeId: id,
        vendorStatus: status,
        deliveryStatus: Object.hasOwn(STATUS, status) ? STATUS[status] : undefined,
        providerErrorCode: codeOf(error),
        proof: { rawBody, signature: withoutHash(token, hash), keyName: 'signature secret' },
      }
    },
  }
}

/**
 * The token without its claim of the body's hash: the phone number could be found from that. Who has the body can put it
 * back, and then the token's own signature holds again.
 */
function withoutHash(token: string, hash: string): string {
  const [header, claims = '', mac] = token.split('.')
  const blanked = Buffer.from(claims, 'base64url').toString().replace(hash, '')
  return [header, Buffer.from(blanked).toString('base64url'), mac].join('.')
}

function codeOf(error: unknown): string | undefined {
  if (!isObject(error)) return undefined
  const [, code] = [error.type, error.title].map((text) => CODE.exec(String(text ?? ''))).find(Boolean) ?? []
  return code
}
