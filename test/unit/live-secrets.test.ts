import { once } from 'node:events'
import { expect, test } from 'vitest'
import { loadConfig } from '../../src/config.ts'
import { type LiveSecrets, openLiveSecrets } from '../../src/secrets/live-secrets.ts'
import type { Secrets } from '../../src/secrets/secrets.ts'

const HOUR_MS = 3_600_000

/** Secrets of which each read waits until it is told what it finds. */
async function openHeld(everyMs = HOUR_MS) {
  const first = await secretsWith('at-the-start')
  const reads: { beganAt: number; signal: AbortSignal; find(token: string): Promise<void>; fail(): void }[] = []
  const waiting: (() => void)[] = []
  const errors: unknown[] = []
  const live = openLiveSecrets(first, {
    everyMs,
    read(signal) {
      const { promise, resolve, reject } = Promise.withResolvers<Secrets>()
      signal.addEventListener('abort', () => reject(signal.reason))
      const find = async (token: string) => resolve(await secretsWith(token))
      reads.push({ beganAt: performance.now(), signal, find, fail: () => reject(new Error('unreadable')) })
      for (const wake of waiting.splice(0)) wake()
      return promise
    },
    findKeyProblems: async () => ({}),
    onRead() {},
    onError: (error) => errors.push(error),
  })
  /** The read of that number, once it has begun. */
  async function read(number: number) {
    while (reads.length < number) await new Promise<void>((wake) => waiting.push(wake))
    return reads[number - 1] ?? never()
  }
  return { live, reads, read, errors, [Symbol.asyncDispose]: () => live[Symbol.asyncDispose]() }
}

function never(): never {
  throw new Error('no such read')
}

async function secretsWith(token: string): Promise<Secrets> {
  return loadConfig({ TWILIO_ACCOUNT_SID: `AC${'0'.repeat(32)}`, TWILIO_AUTH_TOKEN: token, TWILIO_FROM_NUMBER: 'Bank' })
}

function tokenOf({ current }: LiveSecrets): unknown {
  return current.vendors.twilio?.values.TWILIO_AUTH_TOKEN
}

test('secrets are read again and again, and what was found is there at once', async () => {
  await using held = await openHeld(50)
  await (await held.read(1)).find('second')
  // The next read begins when the one before has ended.
  const next = await held.read(2)
  expect(tokenOf(held.live)).toBe('second')
  await next.find('third')
  await held.read(3)
  expect(tokenOf(held.live)).toBe('third')
})

test('callers at the same time share one read, and one begins each second at most', async () => {
  await using held = await openHeld()
  const callers = Array.from({ length: 20 }, () => held.live.readAgain())
  await (await held.read(1)).find('second')
  await Promise.all(callers)
  expect(tokenOf(held.live)).toBe('second')
  const again = held.live.readAgain()
  await (await held.read(2)).find('third')
  await again
  expect(held.reads).toHaveLength(2)
  const [first, second] = held.reads
  expect(Number(second?.beganAt) - Number(first?.beganAt)).toBeGreaterThan(950)
})

test('who calls while secrets are read gets another read, as that one may have begun too early', async () => {
  await using held = await openHeld()
  const early = held.live.readAgain()
  const read = await held.read(1)
  let told = false
  const late = held.live.readAgain().then(() => {
    told = true
  })
  await read.find('too-early')
  await early
  expect(told).toBe(false)
  await (await held.read(2)).find('in-time')
  await late
  expect(tokenOf(held.live)).toBe('in-time')
})

test('a read that fails leaves what was there, and its callers go on', async () => {
  await using held = await openHeld()
  const failing = held.live.readAgain()
  ;(await held.read(1)).fail()
  await failing
  expect(tokenOf(held.live)).toBe('at-the-start')
  expect(held.errors).toHaveLength(1)
  const working = held.live.readAgain()
  await (await held.read(2)).find('second')
  await working
  expect(tokenOf(held.live)).toBe('second')
})

test('disposing ends a read under way, whose callers go on, and tells nobody of a failure', async () => {
  const held = await openHeld()
  const waiting = held.live.readAgain()
  const { signal } = await held.read(1)
  const aborted = once(signal, 'abort')
  await held[Symbol.asyncDispose]()
  await aborted
  await waiting
  await held.live.readAgain()
  expect(held.reads).toHaveLength(1)
  expect(held.errors).toEqual([])
})

test('where nothing can change, nothing is read and nobody waits', async () => {
  const first = await secretsWith('only')
  await using live = openLiveSecrets(first, {
    read: undefined,
    everyMs: 1,
    findKeyProblems: never,
    onRead: never,
    onError: never,
  })
  await live.readAgain()
  expect(live.current).toBe(first)
})
