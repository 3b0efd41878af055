import { sql } from 'kysely'
import { type Channel, OPEN } from '../domain/challenge.ts'
import type { Sealed } from '../domain/sealed.ts'
import type { Db } from './database.ts'

/** Where a stored signature's codes go, and what they were asked for with. */
export interface StoredRecipient {
  phone: Sealed
  pushToken: Sealed | undefined
  requestedChannel: Channel | undefined
  customerSegment: string
  locale: string
}

/** The recipient of a signature that there is. */
export async function findRecipient(db: Db, signatureId: string): Promise<StoredRecipient> {
  const row = await db
    .selectFrom('signature')
    .where('id', '=', signatureId)
    .select([
      'phone_ciphertext',
      'phone_key_id',
      'push_token_ciphertext',
      'push_token_key_id',
      'requested_channel',
      'customer_segment',
      'locale',
    ])
    .executeTakeFirstOrThrow()
  return {
    phone: { keyId: row.phone_key_id, ciphertext: row.phone_ciphertext },
    pushToken:
      row.push_token_ciphertext && row.push_token_key_id !== null
        ? { keyId: row.push_token_key_id, ciphertext: row.push_token_ciphertext }
        : undefined,
    requestedChannel: row.requested_channel ?? undefined,
    customerSegment: row.customer_segment,
    locale: row.locale,
  }
}

/** The signature for which a challenge of this provider is still open, by the database's clock. */
export async function findCalledSignature(
  db: Db,
  challengeId: string,
  provider: string,
): Promise<{ signatureId: string; caller: string; locale: string } | undefined> {
  return db
    .selectFrom('challenge')
    .innerJoin('signature', 'signature.id', 'challenge.signature_id')
    .where('challenge.id', '=', challengeId)
    .where('provider', '=', provider)
    .where('challenge.status', 'in', OPEN)
    .where(sql<boolean>`challenge.expires_at > clock_timestamp()`)
    .select(['signature.id as signatureId', 'caller', 'locale'])
    .executeTakeFirst()
}
