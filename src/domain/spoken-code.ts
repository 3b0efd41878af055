import type { KeyRing } from './keys.ts'
import { type Sealed, seal } from './sealed.ts'

/** `<key id>.<base64url>`: a nonce, six digits and a tag. */
const SPOKEN_CODE = /^([\w-]{1,32})\.([\w-]{46})$/

/** Returns the place for which a call's code is sealed. */
export function spokenCodePlace(challengeId: string): string {
  return `${challengeId}/spoken_code`
}

/**
 * Seals a code under the current key so that a URL can carry it: the call's vendor comes back with it when the customer
 * wants to hear the code. Others who see the URL, such as in the vendor's logs, read nothing from it.
 */
export function sealSpokenCode(keys: KeyRing, code: string, challengeId: string): string {
  const { keyId, ciphertext } = seal(keys, code, spokenCodePlace(challengeId))
  return `${keyId}.${ciphertext.toString('base64url')}`
}

/** Reads what {@link sealSpokenCode} wrote; undefined for anything else. */
export function parseSpokenCode(text: string): Sealed | undefined {
  const [, keyId, ciphertext] = SPOKEN_CODE.exec(text) ?? []
  return keyId && ciphertext ? { keyId, ciphertext: Buffer.from(ciphertext, 'base64url') } : undefined
}
