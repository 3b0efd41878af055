import { create, fromBinary, toBinary, toJson } from '@bufbuild/protobuf'
import { TimestampSchema } from '@bufbuild/protobuf/wkt'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { parse } from '../../src/rpc/request-fields.ts'
import { timeIn, toTimestamp } from '../../src/rpc/times.ts'

const FIRST = -62_135_596_800n
const LAST = 253_402_300_799n

const read = (seconds: bigint, nanos: number) =>
  parse((check) => timeIn(check, 'time', create(TimestampSchema, { seconds, nanos })))

test('every time that a request may hold comes back as it was, to the millisecond below', () => {
  const times = fc.tuple(fc.bigInt(FIRST, LAST), fc.integer({ min: 0, max: 999_999_999 }))
  fc.assert(
    fc.property(times, ([seconds, nanos]) => {
      const back = toTimestamp(read(seconds, nanos) ?? new Date(Number.NaN))
      expect(back).toMatchObject({ seconds, nanos: Math.floor(nanos / 1e6) * 1e6 })
    }),
    { examples: [[[LAST, 999_999_999]], [[FIRST, 0]], [[-1n, 999_999_999]], [[0n, 999_999_999]]] },
  )
})

test.each([
  [LAST + 1n, 0],
  [FIRST - 1n, 999_999_999],
  [2n ** 63n - 1n, 0],
  [-(2n ** 63n), 0],
  [0n, -1],
  [LAST, 1_000_000_000],
  [0n, 2_147_483_647],
  [0n, -2_147_483_648],
])('a time of %s s and %s ns is refused', (seconds, nanos) => {
  expect(() => read(seconds, nanos)).toThrow(/^time must /)
})

test.each([
  ['+010000-01-01T00:00:00Z', '9999-12-31T23:59:59.999Z'],
  ['+275760-09-13T00:00:00Z', '9999-12-31T23:59:59.999Z'],
  ['-000001-12-31T23:59:59Z', '0001-01-01T00:00:00Z'],
])('a stored time of %s is told as %s, which every client can read', (stored, told) => {
  const timestamp = toTimestamp(new Date(stored))
  expect(toJson(TimestampSchema, fromBinary(TimestampSchema, toBinary(TimestampSchema, timestamp)))).toBe(told)
})
