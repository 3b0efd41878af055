import { expect, test } from 'vitest'
import type { KeyRing } from '../../src/domain/keys.ts'
import { isE164, lookUpHmac, maskPhone, openPhone, sealPhone } from '../../src/domain/phone.ts'

const PHONE = '+34600111222'
const ROW = '019a0000-0000-7000-8000-000000000001'
const KEY = Buffer.alloc(32, 1)

function ring(...keys: [id: string, key: Buffer][]): KeyRing {
  return { currentId: keys[0]?.[0] ?? '', byId: new Map(keys) }
}

test.for([PHONE, '+1234567', '+123456789012345', '+15005550006'])('%s is in E.164', (phone) => {
  expect(isE164(phone)).toBe(true)
})

test.for([
  '',
  '+',
  '0034600111222',
  '34600111222',
  '+034600111222',
  '+123456',
  '+1234567890123456',
  '+34 600 111 222',
  '+34-600111222',
  '+34600ABCDEF',
  '+34600111222\n',
  '\n+34600111222',
  ' +34600111222',
  '++34600111222',
  '+３４600111222',
  '＋34600111222',
  '+٣٤600111222',
  '+34600111222;ext=1',
])('%j is not in E.164', (phone) => {
  expect(isE164(phone)).toBe(false)
})

test.for([
  ['+34600111222', '+34*****222'],
  ['+15005550006', '+1*****006'],
  ['+79161234567', '+7*****567'],
  ['+201001234567', '+20*****567'],
  ['+447911123456', '+44*****456'],
  ['+999912345678', '+999*****678'],
  ['+351912345678', '+351*****678'],
  ['+3545551234', '+354*****34'],
  ['+4231234567', '+423*****67'],
  ['+85261234567', '+852*****67'],
  ['+2125551234567', '+212*****567'],
  ['+6791234', '+679*****4'],
  ['+1234567', '+1*****67'],
  ['+4712345', '+47*****5'],
] as const)('%s is shown as %s', ([phone, masked]) => {
  expect(maskPhone(phone)).toBe(masked)
})

test('a mask never shows more than three digits, nor more than a third, of what follows the country code', () => {
  for (const countryCode of ['1', '34', '351']) {
    for (let length = 7; length <= 15; length++) {
      const national = '9'.repeat(length - countryCode.length)
      const [, shown = ''] = maskPhone(`+${countryCode}${national}`).split('*****')
      expect(maskPhone(`+${countryCode}${national}`).startsWith(`+${countryCode}*****`)).toBe(true)
      expect(shown.length).toBeLessThanOrEqual(Math.min(3, national.length / 3))
    }
  }
})

test('a sealed phone number opens for its row', () => {
  const keys = ring(['p1', KEY])
  const sealed = sealPhone(keys, PHONE, ROW)
  expect(sealed.keyId).toBe('p1')
  expect(openPhone(keys, sealed, ROW)).toBe(PHONE)
  expect(sealed.ciphertext.toString('latin1')).not.toContain('600111222')
})

test('a sealed phone number that was moved to another row does not open', () => {
  const keys = ring(['p1', KEY])
  const sealed = sealPhone(keys, PHONE, ROW)
  expect(() => openPhone(keys, sealed, '019a0000-0000-7000-8000-000000000002')).toThrow()
  expect(() => openPhone(keys, sealed, '')).toThrow()
})

test('another key does not open it', () => {
  const sealed = sealPhone(ring(['p1', KEY]), PHONE, ROW)
  expect(() => openPhone(ring(['p1', Buffer.alloc(32, 2)]), sealed, ROW)).toThrow()
})

test('a key that is gone is named', () => {
  const sealed = sealPhone(ring(['p1', KEY]), PHONE, ROW)
  expect(() => openPhone(ring(['p2', KEY]), sealed, ROW)).toThrow('no key with id p1')
})

test('new numbers are sealed with the current key, and those of an older key in the list still open', () => {
  const before = sealPhone(ring(['p1', KEY]), PHONE, ROW)
  const rotated = ring(['p2', Buffer.alloc(32, 2)], ['p1', KEY])
  expect(sealPhone(rotated, PHONE, ROW).keyId).toBe('p2')
  expect(openPhone(rotated, before, ROW)).toBe(PHONE)
})

test('one changed bit anywhere is noticed', () => {
  const keys = ring(['p1', KEY])
  const { keyId, ciphertext } = sealPhone(keys, PHONE, ROW)
  for (let bit = 0; bit < ciphertext.length * 8; bit++) {
    const tampered = Buffer.from(ciphertext)
    tampered[bit >> 3] = (tampered[bit >> 3] ?? 0) ^ (1 << (bit & 7))
    expect(() => openPhone(keys, { keyId, ciphertext: tampered }, ROW), `bit ${bit}`).toThrow()
  }
})

test('a ciphertext that was cut short anywhere does not open', () => {
  const keys = ring(['p1', KEY])
  const { keyId, ciphertext } = sealPhone(keys, PHONE, ROW)
  for (let length = 0; length < ciphertext.length; length++) {
    const part = ciphertext.subarray(0, length)
    expect(() => openPhone(keys, { keyId, ciphertext: part }, ROW), `${length} bytes`).toThrow()
  }
})

test('the same number is sealed differently each time, each with a nonce of its own', () => {
  const keys = ring(['p1', KEY])
  const sealed = Array.from({ length: 1_000 }, () => sealPhone(keys, PHONE, ROW).ciphertext)
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
