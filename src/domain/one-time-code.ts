import { createHmac, randomInt, timingSafeEqual } from 'node:crypto'
import { currentKey, type KeyRing, keyById } from './keys.ts'
import { lengthPrefixed } from './length-prefixed.ts'

/** A code as it is stored: it can be recognised, and not found without the key. */
export interface SealedCode {
  keyId: string
  hmac: Buffer
}

/** What a code is bound to: it is right for this challenge and this transaction, and for no other. */
export interface CodeBinding {
  challengeId: string
  transactionDigest: Buffer
}

/** Returns six random digits; each of the million codes is equally likely. */
export function generateCode(): string {
  return String(randomInt(1_000_000)).padStart(6, '0')
}

/** Seals a code under the current key. */
export function sealCode(keys: KeyRing, code: string, binding: CodeBinding): SealedCode {
  const { id, key } = currentKey(keys)
  return { keyId: id, hmac: codeHmac(key, id, code, binding) }
}

/**
 * True if `code` is the sealed one. Takes as long for a wrong code as for the right one. Where no code was sealed, none is
 * right.
 */
export function isSealedCode(keys: KeyRing, sealed: SealedCode, code: string, binding: CodeBinding): boolean {
  if (sealed.keyId === '') return false
  const expected = codeHmac(keyById(keys, sealed.keyId), sealed.keyId, code, binding)
  return sealed.hmac.length === expected.length && timingSafeEqual(sealed.hmac, expected)
}

function codeHmac(key: Buffer, keyId: string, code: string, { challengeId, transactionDigest }: CodeBinding): Buffer {
  return createHmac('sha256', key)
    .update(lengthPrefixed(['signature-router/code/v1', keyId, challengeId, transactionDigest, code]))
    .digest()
}
