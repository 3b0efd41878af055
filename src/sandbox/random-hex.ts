import { randomBytes } from 'node:crypto'

/** Returns this many random bytes as hexadecimal digits. */
export function randomHex(bytes: number): string {
  return randomBytes(bytes).toString('hex')
}
