import type { Context } from '../context.ts'
import { findRecipient } from '../db/recipients.ts'
import type { StoredSignature } from '../db/signatures.ts'
import type { Recipient } from './deliver-code.ts'
import { openSealed } from './known-keys.ts'
import type { RouteQuery } from './plan-route.ts'

/** The place for which a signature's push token is sealed. */
export function pushTokenPlace(signatureId: string): string {
  return `${signatureId}/push_token`
}

/** Opens what a stored signature's next message is made of, and what its route was found by. */
export async function openRecipient(
  ctx: Pick<Context, 'db' | 'keys' | 'readSecretsAgain' | 'log'>,
  { id, transaction, transactionDigest, expiresAt, leftMs }: StoredSignature,
): Promise<{ recipient: Recipient; query: RouteQuery }> {
  const stored = await findRecipient(ctx.db, id)
  const phone = await openSealed(ctx, stored.phone, id)
  const pushToken = stored.pushToken && (await openSealed(ctx, stored.pushToken, pushTokenPlace(id)))
  const { requestedChannel, customerSegment, locale } = stored
  return {
    recipient: { signatureId: id, phone, pushToken, transaction, transactionDigest, locale, expiresAt, leftMs },
    query: { phone, transaction, channel: requestedChannel, customerSegment },
  }
}
