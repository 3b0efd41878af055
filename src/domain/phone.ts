import { createCipheriv, createDecipheriv, createHmac, randomBytes } from 'node:crypto'
import { lengthPrefixed } from './fields.ts'
import { currentKey, type KeyRing, keyById } from './keys.ts'

/** A phone number as it is kept: AES-256-GCM, as nonce (12 bytes), ciphertext, tag (16 bytes). */
export interface SealedPhone {
  keyId: string
  ciphertext: Buffer
}

const E164 = /^\+[1-9][0-9]{6,14}$/
/** ITU-T E.164, list of assigned country codes: one or two digits for these, three for all others. */
const COUNTRY_CODE = /^\+(?:1|7|2[07]|3[0-469]|4[013-9]|5[1-8]|6[0-6]|8[1246]|9[0-58]|[0-9]{3})/
const SHOWN_DIGITS = 3

/** Whether this is a phone number in E.164: "+", then 7 to 15 digits of which the first isn't 0. */
export function isE164(phone: string): boolean {
  return E164.test(phone)
}

/** `+34600111222` as `+34*****222`. A short number shows fewer digits: never more than a third of the national ones. */
export function maskPhone(phone: string): string {
  const countryCode = COUNTRY_CODE.exec(phone)?.[0] ?? '+'
  const national = phone.slice(countryCode.length)
  const shown = Math.min(SHOWN_DIGITS, Math.floor(national.length / 3))
  return `${countryCode}*****${national.slice(national.length - shown)}`
}

/** Encrypts a phone number for one row: the ciphertext moved to another row can't be opened. */
export function sealPhone(keys: KeyRing, phone: string, rowId: string): SealedPhone {
  const { id, key } = currentKey(keys)
  const nonce = randomBytes(12)
  const cipher = createCipheriv('aes-256-gcm', key, nonce).setAAD(Buffer.from(rowId))
  return {
    keyId: id,
    ciphertext: Buffer.concat([nonce, cipher.update(phone, 'utf8'), cipher.final(), cipher.getAuthTag()]),
  }
}

/** Decrypts a phone number. Throws when key, row or ciphertext aren't the ones it was sealed with. */
export function openPhone(keys: KeyRing, { keyId, ciphertext }: SealedPhone, rowId: string): string {
  const decipher = createDecipheriv('aes-256-gcm', keyById(keys, keyId), ciphertext.subarray(0, 12))
    .setAAD(Buffer.from(rowId))
    .setAuthTag(ciphertext.subarray(-16))
  return decipher.update(ciphertext.subarray(12, -16), undefined, 'utf8') + decipher.final('utf8')
}

/** Finds what was stored for a customer or a phone number without storing either. */
export function lookUpHmac(indexKey: Buffer, kind: 'customer' | 'phone', value: string): Buffer {
  return createHmac('sha256', indexKey)
    .update(lengthPrefixed([kind, value]))
    .digest()
}
