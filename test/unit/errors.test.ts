import { expect, test } from 'vitest'
import { RetryInfoSchema } from '../../gen/google/rpc/error_details_pb.ts'
import { AppError, invalidFields, overloaded } from '../../src/errors.ts'
import { toConnectError } from '../../src/rpc/wire-errors.ts'

const wrong = (count: number) =>
  Array.from({ length: count }, (_, index) => ({ field: `routes[${index}].priority`, description: 'must be another' }))

test('a request with a few wrong fields has them all in its message and its details', () => {
  const error = invalidFields(wrong(2))
  expect(error).toMatchObject({ reason: 'INVALID_FIELD', violations: wrong(2) })
  expect(error.message).toBe('routes[0].priority must be another; routes[1].priority must be another')
})

test('of more wrong fields than an error can carry the first are told, and how many more there are', () => {
  const { violations, message } = invalidFields(wrong(5_000))
  const told = violations.length - 1
  expect(violations.slice(0, told)).toEqual(wrong(told))
  expect(violations.at(-1)).toEqual({ field: '', description: `and ${5_000 - told} more` })
  expect(message).toMatch(/^routes\[0\].* and \d+ more$/)
  // gRPC for Java takes 8 KiB of trailers; the details come in base64, and hold the message as well.
  const details = violations.reduce((sum, { field, description }) => sum + field.length + description.length + 6, 0)
  expect(message.length + (details + message.length) * (4 / 3)).toBeLessThan(7_000)
})

test('every refusal that the contract promises a RetryInfo for has one, also when the wait is over by then', () => {
  const retryAfter = (error: AppError) => toConnectError(error).findDetails(RetryInfoSchema)[0]?.retryDelay
  expect(retryAfter(overloaded('too many lists'))).toMatchObject({ seconds: 1n, nanos: 0 })
  expect(retryAfter(new AppError('RESEND_TOO_SOON', 'wait', { retryAfterMs: 0 }))).toMatchObject({ seconds: 0n })
  // @ts-expect-error: without a time to wait it does not compile.
  expect(retryAfter(new AppError('OVERLOADED', 'too many lists'))).toBeUndefined()
})
