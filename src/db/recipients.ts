import { sql } from 'kysely'
import { type Channel, OPEN } from '../domain/challenge.ts'
import type { Sealed } from '../domain/sealed.ts'
import type { Db } from './database.ts'

/** Where a stored signature's codes go, and what its route is found by. */
export interface StoredRecipient {
  sealedPhone: Sealed
  sealedPushToken: Sealed | undefined
  phoneHmac: Buffer
  requestedChannel: Channel | undefined
  customerSegment: string
  locale: string
}

/** Returns the recipient of a signature that exists. Throws if it doesn't. */
export async function findRecipient(db: Db, signatureId: string): Promise<StoredRecipient> {
  const row = await db
    .selectFrom('signature')
    .where('id', '=', signatureId)
    .select([
      'phone_hmac',
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
    sealedPhone: { keyId: row.phone_key_id, ciphertext: row.phone_ciphertext },
    sealedPushToken:
      row.push_token_ciphertext && row.push_token_key_id !== null
        ? { keyId: row.push_token_key_id, ciphertext: row.push_token_ciphertext }
        : undefined,
    phoneHmac: row.phone_hmac,
    requestedChannel: row.requested_channel ?? undefined,
    customerSegment: row.customer_segment,
    locale: row.locale,
  }
}

/** Returns the signature of a challenge of `provider` that is still open by the database's clock; else undefined. */
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
