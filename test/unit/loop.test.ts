import { expect, test } from 'vitest'
import { startLoop } from '../../src/loop.ts'

const NEVER_MS = 2_147_483_647

test('a loop that is woken skips its pause, also when it is woken during a round', async () => {
  const rounds = [1, 2, 3].map(() => Promise.withResolvers<void>())
  let begun = 0
  await using loop = startLoop(
    async () => {
      rounds[begun]?.resolve()
      begun += 1
      if (begun === 2) loop.wake()
    },
    () => NEVER_MS,
  )
  await rounds[0]?.promise
  expect(begun).toBe(1)
  loop.wake()
  await rounds[2]?.promise
  expect(begun).toBe(3)
})

test('disposing a loop ends its pause, and waits for the round under way', async () => {
  await startLoop(
    async () => {},
    () => NEVER_MS,
  )[Symbol.asyncDispose]()

  let isDone = false
  const loop = startLoop(
    async (stopping) => {
      await new Promise<void>((resolve) => stopping.addEventListener('abort', () => setImmediate(resolve)))
      isDone = true
    },
    () => NEVER_MS,
  )
  await loop[Symbol.asyncDispose]()
  expect(isDone).toBe(true)
})
