import type { Context } from '../context.ts'
import { findRecipient } from '../db/recipients.ts'
import type { StoredSignature } from '../db/signatures.ts'
import { countryOf } from '../domain/phone.ts'
import type { Recipient } from './deliver-code.ts'
import { openSealed } from './known-keys.ts'
import type { RouteQuery } from './plan-route.ts'

/** Returns the place for which a signature's push token is sealed. */
export function pushTokenPlace(signatureId: string): string {
  return `${signatureId}/push_token`
}

/** Opens the recipient of a stored signature. Also returns the query that finds its route. */
export async function openRecipient(
  ctx: Pick<Context, 'db' | 'keys' | 'readSecretsAgain' | 'log'>,
  { id, transaction, transactionDigest, expiresAt, leftMs }: StoredSignature,
): Promise<{ recipient: Recipient; query: RouteQuery }> {
  const stored = await findRecipient(ctx.db, id)
  const { sealedPhone, sealedPushToken, phoneHmac, requestedChannel: channel, customerSegment, locale } = stored
  const phone = await openSealed(ctx, sealedPhone, id)
  const pushToken = sealedPushToken && (await openSealed(ctx, sealedPushToken, pushTokenPlace(id)))
  return {
    recipient: { signatureId: id, phone, pushToken, transaction, transactionDigest, locale, expiresAt, leftMs },
    query: { phone, phoneHmac, country: countryOf(phone), transaction, transactionDigest, channel, customerSegment },
  }
}
