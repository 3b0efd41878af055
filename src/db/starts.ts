import type { Amount } from '../domain/amount.ts'
import type { Channel } from '../domain/challenge.ts'
import type { Sealed } from '../domain/sealed.ts'
import type { Db } from './database.ts'
import { readTransaction, TRANSACTION_COLUMNS } from './stored-transaction.ts'

/** What a signature was routed by when it started. */
export interface Start {
  id: string
  sealedPhone: Sealed
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

/**
 * Yields up to `limit` signatures of all callers, newest first. Reads them page by page, so that other work goes on in
 * between. Throws AlteredSignature.
 */
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
        ...TRANSACTION_COLUMNS,
        'phone_ciphertext',
        'phone_key_id',
        'phone_hmac',
        eb('push_token_key_id', 'is not', null).as('has_push_token'),
        'requested_channel',
        'customer_segment',
        'created_at',
      ])
      .execute()
    for (const row of rows) {
      const { amount, transactionType } = readTransaction(row)
      yield {
        id: row.id,
        sealedPhone: { keyId: row.phone_key_id, ciphertext: row.phone_ciphertext },
        phoneHmac: row.phone_hmac,
        hasPushToken: Boolean(row.has_push_token),
        channel: row.requested_channel ?? undefined,
        customerSegment: row.customer_segment,
        amount,
        transactionType,
        transactionDigest: row.transaction_digest,
        createdAt: row.created_at,
      }
    }
    if (rows.length < PAGE) return
    last = rows.at(-1)?.id
  }
}
