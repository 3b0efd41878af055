import { expect, test } from 'vitest'
import type { KeyRing } from '../../src/domain/keys.ts'
import { type CodeBinding, generateCode, isSealedCode, sealCode } from '../../src/domain/one-time-code.ts'

const KEY = Buffer.from(Array.from({ length: 32 }, (_, index) => index))
const OTHER_KEY = Buffer.alloc(32, 7)
const BINDING: CodeBinding = {
  challengeId: '019a0000-0000-7000-8000-000000000001',
  transactionDigest: Buffer.from('f94ee9eab691e91c4faf086b4d89ad09345ca9ece7e4a51703de8a4c054313f1', 'hex'),
}

function ring(...keys: [id: string, key: Buffer][]): KeyRing {
  return { currentId: keys[0]?.[0] ?? '', byId: new Map(keys) }
}

test('codes are six digits, and every digit is as likely as any other in every place, zero in front too', () => {
  const codes = Array.from({ length: 20_000 }, generateCode)

  expect(codes.filter((code) => !/^[0-9]{6}$/.test(code))).toEqual([])
  for (let place = 0; place < 6; place++) {
    for (const digit of '0123456789') {
      const count = codes.filter((code) => code[place] === digit).length
      // 2,000 are expected; 275 is six and a half standard deviations.
      expect(Math.abs(count - 2_000), `${digit} in place ${place}`).toBeLessThan(275)
    }
  }
  expect(new Set(codes).size).toBeGreaterThan(19_500)
})

test('the sealed code is recognised, and no other', () => {
  const keys = ring(['k1', KEY])
  const sealed = sealCode(keys, '012345', BINDING)

  expect(isSealedCode(keys, sealed, '012345', BINDING)).toBe(true)
  for (const code of ['012346', '112345', '12345', '0012345', '012345\n', ' 012345', '']) {
    expect(isSealedCode(keys, sealed, code, BINDING), JSON.stringify(code)).toBe(false)
  }
})

test('a code is right for its own challenge and transaction only', () => {
  const keys = ring(['k1', KEY])
  const sealed = sealCode(keys, '012345', BINDING)

  const otherChallenge = { ...BINDING, challengeId: '019a0000-0000-7000-8000-000000000002' }
  const otherTransaction = { ...BINDING, transactionDigest: Buffer.alloc(32, 1) }
  expect(isSealedCode(keys, sealed, '012345', otherChallenge)).toBe(false)
  expect(isSealedCode(keys, sealed, '012345', otherTransaction)).toBe(false)
})

test('what is kept of a code differs for each code, challenge, transaction, key and key id', () => {
  const sealed = [
    sealCode(ring(['k1', KEY]), '012345', BINDING),
    sealCode(ring(['k1', KEY]), '012346', BINDING),
    sealCode(ring(['k1', KEY]), '012345', { ...BINDING, challengeId: 'c' }),
    sealCode(ring(['k1', KEY]), '012345', { ...BINDING, transactionDigest: Buffer.alloc(32) }),
    sealCode(ring(['k1', OTHER_KEY]), '012345', BINDING),
    sealCode(ring(['k2', KEY]), '012345', BINDING),
    // The same bytes in a row, with the borders elsewhere.
    sealCode(ring(['k1x', KEY]), '012345', { ...BINDING, challengeId: 'y' }),
    sealCode(ring(['k1', KEY]), '012345', { ...BINDING, challengeId: 'xy' }),
  ]
  expect(new Set(sealed.map(({ hmac }) => hmac.toString('hex'))).size).toBe(sealed.length)
})

test('the seal is HMAC-SHA256 in a fixed format, so that codes under way survive a new version', () => {
  expect(sealCode(ring(['k1', KEY]), '012345', BINDING)).toEqual({
    keyId: 'k1',
    hmac: Buffer.from('977c0f6e4eccccd339c84f177f9c1cbd0cf49af718acd30d609a6d1166a82a47', 'hex'),
  })
})

test('under another key the right code is wrong', () => {
  const sealed = sealCode(ring(['k1', KEY]), '012345', BINDING)
  expect(isSealedCode(ring(['k1', OTHER_KEY]), sealed, '012345', BINDING)).toBe(false)
})

test('a seal that was given the id of another key is not accepted, even when both keys are the same', () => {
  const keys = ring(['k1', KEY], ['k2', KEY])
  const sealed = sealCode(keys, '012345', BINDING)
  expect(isSealedCode(keys, { ...sealed, keyId: 'k2' }, '012345', BINDING)).toBe(false)
})

test('new codes are sealed with the current key, and those of an older key in the list are still recognised', () => {
  const before = sealCode(ring(['k1', KEY]), '012345', BINDING)
  const rotated = ring(['k2', OTHER_KEY], ['k1', KEY])

  expect(sealCode(rotated, '012345', BINDING).keyId).toBe('k2')
  expect(isSealedCode(rotated, before, '012345', BINDING)).toBe(true)
})

test('a seal whose key is gone is an error that names the key id, not a wrong code', () => {
  const sealed = sealCode(ring(['k1', KEY]), '012345', BINDING)
  expect(() => isSealedCode(ring(['k2', KEY]), sealed, '012345', BINDING)).toThrow('no key with id k1')
})

test('a part of the seal is not the seal', () => {
  const keys = ring(['k1', KEY])
  const { keyId, hmac } = sealCode(keys, '012345', BINDING)
  for (const part of [hmac.subarray(0, 31), hmac.subarray(0, 1), Buffer.alloc(0), Buffer.concat([hmac, hmac])]) {
    expect(isSealedCode(keys, { keyId, hmac: part }, '012345', BINDING)).toBe(false)
  }
})

test('where no code was ever sealed, none is right', () => {
  const nothing = { keyId: '', hmac: Buffer.alloc(0) }
  expect(isSealedCode(ring(['k1', KEY]), nothing, '012345', BINDING)).toBe(false)
  expect(isSealedCode(ring(['k1', KEY]), nothing, '', BINDING)).toBe(false)
})
