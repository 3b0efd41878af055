import type { Amount } from '../domain/amount.ts'
import { fromDecimal } from '../domain/amount.ts'
import type { Channel } from '../domain/challenge.ts'
import type { Sealed } from '../domain/sealed.ts'
import type { Db } from './database.ts'

/** What a signature was routed by when it started. */
export interface Start {
  id: string
  phone: Sealed
  phoneHmac: Buffer
  hasPushToken: boolean
  channel: Channel | undefined
  customerSegment: string
  amount: Amount
  transactionType: string
  transactionDigest: Buffer
  createdAt: Date
}

const PAGE = 500

/** The latest signatures, newest first, of all callers. Reads them page by page, so that other work goes on between. */
export async function* latestStarts(db: Db, limit: number): AsyncGenerator<Start> {
  let last: string | undefined
  for (let left = limit; left > 0; left -= PAGE) {
    const rows = await db
      .selectFrom('signature')
      // Ids are UUIDv7: in the order of time.
      .$if(last !== undefined, (query) => query.where('id', '<', String(last)))
      .orderBy('id', 'desc')
      .limit(Math.min(left, PAGE))
      .select((eb) => [
        'id',
        'phone_ciphertext',
        'phone_key_id',
        'phone_hmac',
        eb('push_token_key_id', 'is not', null).as('has_push_token'),
        'requested_channel',
        'customer_segment',
        'amount',
        'currency',
        'transaction_type',
        'transaction_digest',
        'created_at',
      ])
      .execute()
    for (const row of rows) {
      yield {
        id: row.id,
        phone: { keyId: row.phone_key_id, ciphertext: row.phone_ciphertext },
        phoneHmac: row.phone_hmac,
        hasPushToken: Boolean(row.has_push_token),
        channel: row.requested_channel ?? undefined,
        customerSegment: row.customer_segment,
        amount: { currency: row.currency, ...fromDecimal(row.amount) },
        transactionType: row.transaction_type,
        transactionDigest: row.transaction_digest,
        createdAt: row.created_at,
      }
    }
    if (rows.length < PAGE) return
    last = rows.at(-1)?.id
  }
}
