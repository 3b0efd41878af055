import fc from 'fast-check'
import { expect, test } from 'vitest'
import { createGrowing } from '../../src/net/growing.ts'
import { createHeldBytes, type Hold } from '../../src/net/held-bytes.ts'

const KIB = 1024

test('while there is too much, those on their way longest are cut, and each once', () => {
  const cut: string[] = []
  const hold = createHeldBytes(100 * KIB)
  const begin = (name: string) => hold(() => cut.push(name))
  const [first, second, third] = [begin('first'), begin('second'), begin('third')]
  third.add(52 * KIB)
  expect(cut).toEqual([])
  third.add(1)
  expect(cut).toEqual(['first'])
  first.add(1_000 * KIB)
  second[Symbol.dispose]()
  third.add(31 * KIB)
  expect(cut).toEqual(['first'])
  third.add(16 * KIB)
  expect(cut).toEqual(['first', 'third'])
})

test('what is held is never more than there may be, whatever comes and goes', () => {
  const steps = fc.array(fc.tuple(fc.nat(9), fc.constantFrom('add', 'end'), fc.nat(30_000)), { maxLength: 200 })
  fc.assert(
    fc.property(steps, (taken) => {
      const live = new Map<number, { hold: Hold; bytes: number }>()
      const hold = createHeldBytes(100_000)
      for (const [request, step, bytes] of taken) {
        const known = live.get(request)
        if (step === 'end') {
          known?.hold[Symbol.dispose]()
          live.delete(request)
        } else if (known) {
          known.bytes += bytes
          known.hold.add(bytes)
        } else {
          live.set(request, { hold: { add() {}, [Symbol.dispose]() {} }, bytes: 16 * KIB })
          const own = hold(() => live.delete(request))
          const still = live.get(request)
          if (still) still.hold = own
        }
        const held = [...live.values()].reduce((sum, { bytes }) => sum + bytes, 0)
        expect(held).toBeLessThanOrEqual(100_000)
      }
    }),
  )
})

test('bytes that grow in pieces are those pieces, in memory that is counted', () => {
  let counted = 0
  const growing = createGrowing({
    add(bytes) {
      counted += bytes
    },
    [Symbol.dispose]() {},
  })
  const pieces = Array.from({ length: 10_000 }, (_, n) => Buffer.of(n % 256))
  for (const piece of pieces) growing.write(piece, growing.bytes.length)
  expect(growing.bytes.equals(Buffer.concat(pieces))).toBe(true)
  expect(counted).toBeGreaterThanOrEqual(pieces.length)
  expect(counted).toBeLessThan(4 * pieces.length)
  growing.write(growing.bytes.subarray(9_990), 0)
  expect(growing.bytes.equals(Buffer.concat(pieces.slice(-10)))).toBe(true)
})
