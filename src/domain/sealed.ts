import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto'
import { currentKey, type KeyRing, keyById } from './keys.ts'

/** A personal value as it is stored. `ciphertext` is AES-256-GCM: nonce (12 bytes), ciphertext, tag (16 bytes). */
export interface Sealed {
  keyId: string
  ciphertext: Buffer
}

/**
 * Encrypts a value under the current key. `place` is the id of its row, with the column where a row has several sealed
 * values: ciphertext that is moved to another place can't be opened.
 */
export function seal(keys: KeyRing, value: string | Buffer, place: string): Sealed {
  const { id, key } = currentKey(keys)
  const nonce = randomBytes(12)
  const cipher = createCipheriv('aes-256-gcm', key, nonce).setAAD(Buffer.from(place))
  return {
    keyId: id,
    ciphertext: Buffer.concat([nonce, cipher.update(Buffer.from(value)), cipher.final(), cipher.getAuthTag()]),
  }
}

/** Decrypts a value. Throws if key, place or ciphertext aren't the ones it was sealed with. */
export function unseal(keys: KeyRing, { keyId, ciphertext }: Sealed, place: string): string {
  const decipher = createDecipheriv('aes-256-gcm', keyById(keys, keyId), ciphertext.subarray(0, 12))
    .setAAD(Buffer.from(place))
    .setAuthTag(ciphertext.subarray(-16))
  return decipher.update(ciphertext.subarray(12, -16), undefined, 'utf8') + decipher.final('utf8')
}
