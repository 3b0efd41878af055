import fc from 'fast-check'
import { expect, test } from 'vitest'
import { capDeadline } from '../../src/rpc/deadline.ts'

function capped(timeout: string, mostMs = 60_000): string | null {
  const header = new Headers({ 'grpc-timeout': timeout })
  capDeadline(header, mostMs)
  return header.get('grpc-timeout')
}

test.each(['1H', '99999999H', '2M', '61S', '60001m', '60000001u'])('a deadline of %s is brought nearer', (timeout) => {
  expect(capped(timeout)).toBe('60000m')
})

test.each(['60S', '1M', '60000m', '60000000u', '99999999n', '0n', '1m'])('a deadline of %s stays', (timeout) => {
  expect(capped(timeout)).toBe(timeout)
})

test('what is no deadline stays, and nothing comes where there was none', () => {
  fc.assert(
    fc.property(fc.stringMatching(/^[0-9HMSmunhs.+ -]{1,12}$/), (text) => {
      fc.pre(!/^\d{1,8}[HMSmun]$/.test(text.trim()))
      expect(capped(text)).toBe(text.trim())
    }),
  )
  const header = new Headers()
  capDeadline(header, 1)
  expect([...header]).toEqual([])
})
