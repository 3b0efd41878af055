import type { Context } from '../context.ts'
import { type KeyRing, keyById } from '../domain/keys.ts'
import { type Sealed, unseal } from '../domain/sealed.ts'

type Ctx = Pick<Context, 'keys' | 'readSecretsAgain' | 'log'>

const SECRET = { code: 'CODE_KEYS', pii: 'PII_KEYS' }

/**
 * Returns the keys of a purpose, with the one that a row names. If another replica has sealed under a newer key than this
 * one knows, reads the secrets again first. Throws if the key isn't there then either.
 */
export async function ringWith(ctx: Ctx, purpose: 'code' | 'pii', keyId: string): Promise<KeyRing> {
  if (!ctx.keys[purpose].byId.has(keyId)) await ctx.readSecretsAgain()
  const ring = ctx.keys[purpose]
  if (!ring.byId.has(keyId)) {
    ctx.log.error({ secret: SECRET[purpose], key_id: keyId }, 'rows name a key that is not listed: list it everywhere')
  }
  keyById(ring, keyId)
  return ring
}

/** Opens a sealed value of a row. Throws as {@link unseal} does. */
export async function openSealed(ctx: Ctx, sealed: Sealed, place: string): Promise<string> {
  return unseal(await ringWith(ctx, 'pii', sealed.keyId), sealed, place)
}
