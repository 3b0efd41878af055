import { expect, test } from 'vitest'
import { createSeats } from '../../src/net/seats.ts'

test('those that did nothing yet make room first, then the one that has been idle longest, and the new one when all work', () => {
  const ended: string[] = []
  const seats = createSeats<string>(3, (name) => ended.push(name))
  for (const name of ['a', 'b', 'c']) seats.take(name)
  seats.work('a')
  seats.work('b')
  seats.work('b')
  seats.rest('b')
  seats.take('d')
  expect(ended).toEqual(['c'])
  seats.rest('a')
  seats.take('e')
  expect(ended).toEqual(['c', 'd'])
  seats.work('e')
  seats.rest('e')
  seats.take('f')
  expect(ended).toEqual(['c', 'd', 'a'])
  seats.work('e')
  seats.work('f')
  seats.take('g')
  expect(ended).toEqual(['c', 'd', 'a', 'g'])
  seats.rest('g')
  seats.leave('f')
  seats.take('h')
  expect(ended).toHaveLength(4)
})
