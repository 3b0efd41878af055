import { createHmac } from 'node:crypto'
import { lengthPrefixed } from './length-prefixed.ts'

/**
 * Returns the HMAC-SHA256 by which a value is found without being stored. `indexKey` has 32 bytes; the same value of
 * another `kind` has another HMAC.
 */
export function lookUpHmac(indexKey: Buffer, kind: 'customer' | 'phone' | 'push token', value: string): Buffer {
  return createHmac('sha256', indexKey)
    .update(lengthPrefixed([kind, value]))
    .digest()
}
