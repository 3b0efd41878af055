import { expect, test } from 'vitest'
import type { KeyRing } from '../../src/domain/keys.ts'
import { lookUpHmac } from '../../src/domain/look-up-hmac.ts'
import { seal, unseal } from '../../src/domain/sealed.ts'

const PHONE = '+34600111222'
const ROW = '019a0000-0000-7000-8000-000000000001'
const KEY = Buffer.alloc(32, 1)

function ring(...keys: [id: string, key: Buffer][]): KeyRing {
  return { currentId: keys[0]?.[0] ?? '', byId: new Map(keys) }
}

test('a sealed value opens in its place', () => {
  const keys = ring(['p1', KEY])
  const sealed = seal(keys, PHONE, ROW)
  expect(sealed.keyId).toBe('p1')
  expect(unseal(keys, sealed, ROW)).toBe(PHONE)
  expect(sealed.ciphertext.toString('latin1')).not.toContain('600111222')
})

test('a sealed value that was moved to another place does not open', () => {
  const keys = ring(['p1', KEY])
  const sealed = seal(keys, PHONE, ROW)
  expect(() => unseal(keys, sealed, '019a0000-0000-7000-8000-000000000002')).toThrow()
  expect(() => unseal(keys, sealed, '')).toThrow()
})

test('another key does not open it', () => {
  const sealed = seal(ring(['p1', KEY]), PHONE, ROW)
  expect(() => unseal(ring(['p1', Buffer.alloc(32, 2)]), sealed, ROW)).toThrow()
})

test('a key that is gone is named', () => {
  const sealed = seal(ring(['p1', KEY]), PHONE, ROW)
  expect(() => unseal(ring(['p2', KEY]), sealed, ROW)).toThrow('no key with id p1')
})

test('new values are sealed with the current key, and those of an older key in the list still open', () => {
  const before = seal(ring(['p1', KEY]), PHONE, ROW)
  const rotated = ring(['p2', Buffer.alloc(32, 2)], ['p1', KEY])
  expect(seal(rotated, PHONE, ROW).keyId).toBe('p2')
  expect(unseal(rotated, before, ROW)).toBe(PHONE)
})

test('one changed bit anywhere is noticed', () => {
  const keys = ring(['p1', KEY])
  const { keyId, ciphertext } = seal(keys, PHONE, ROW)
  for (let bit = 0; bit < ciphertext.length * 8; bit++) {
    const tampered = Buffer.from(ciphertext)
    tampered[bit >> 3] = (tampered[bit >> 3] ?? 0) ^ (1 << (bit & 7))
    expect(() => unseal(keys, { keyId, ciphertext: tampered }, ROW), `bit ${bit}`).toThrow()
  }
})

test('a ciphertext that was cut short anywhere does not open', () => {
  const keys = ring(['p1', KEY])
  const { keyId, ciphertext } = seal(keys, PHONE, ROW)
  for (let length = 0; length < ciphertext.length; length++) {
    const part = ciphertext.subarray(0, length)
    expect(() => unseal(keys, { keyId, ciphertext: part }, ROW), `${length} bytes`).toThrow()
  }
})

test('the same value is sealed differently each time, each with a nonce of its own', () => {
  const keys = ring(['p1', KEY])
  const sealed = Array.from({ length: 1_000 }, () => seal(keys, PHONE, ROW).ciphertext)
  expect(new Set(sealed.map((ciphertext) => ciphertext.subarray(0, 12).toString('hex'))).size).toBe(1_000)
})

test('a look-up finds the same value of the same kind under the same key, and nothing else', () => {
  const found = lookUpHmac(KEY, 'phone', PHONE)
  expect(lookUpHmac(KEY, 'phone', PHONE)).toEqual(found)
  const others = [
    lookUpHmac(KEY, 'customer', PHONE),
    lookUpHmac(KEY, 'phone', '+34600111223'),
    lookUpHmac(Buffer.alloc(32, 2), 'phone', PHONE),
  ]
  for (const other of others) expect(other).not.toEqual(found)
})

test('the look-up HMAC has a fixed format, so that what is stored is still found by a new version', () => {
  const key = Buffer.from(Array.from({ length: 32 }, (_, index) => index))
  expect(lookUpHmac(key, 'phone', PHONE).toString('hex')).toBe(
    '2e8a0f1ec83078b183d13676c30622fe3d81fa7c0c20ff3f43826fea05fc6ed7',
  )
})
