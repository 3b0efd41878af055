import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { openSignatureNotices } from '../../src/db/signature-notices.ts'

beforeEach(() => {
  vi.useFakeTimers()
})
afterEach(() => {
  expect(vi.getTimerCount()).toBe(0)
  vi.restoreAllMocks()
  vi.useRealTimers()
})

test('a follower is told of a change of its signature, and of no other', async () => {
  const notices = openSignatureNotices(nothing)
  const signal = new AbortController().signal
  using one = notices.follow('one', signal)
  using two = notices.follow('two', signal)
  const told: string[] = []
  const waits = [one.next(300_000, 0).then(() => told.push('one')), two.next(300_000, 0).then(() => told.push('two'))]

  notices.notice('three')
  notices.notice('one')
  await waits[0]
  expect(told).toEqual(['one'])
  notices.notice('two')
  await waits[1]
  expect(told).toEqual(['one', 'two'])
})

test('a notice of any signature is told to all who follow', async () => {
  const notices = openSignatureNotices(nothing)
  const signal = new AbortController().signal
  using one = notices.follow('one', signal)
  using again = notices.follow('one', signal)
  using two = notices.follow('two', signal)
  const waits = [one, again, two].map((follower) => follower.next(300_000, 0))
  notices.notice(undefined)
  await Promise.all(waits)
})

test('a change before the wait counts, several count once, and each is told of once', async () => {
  const notices = openSignatureNotices(nothing)
  using follower = notices.follow('one', new AbortController().signal)
  notices.notice('one')
  notices.notice('one')
  await follower.next(300_000, 0)

  const next = follower.next(300_000, 0)
  expect(await isPending(next)).toBe(true)
  notices.notice('one')
  await next
})

test('a wait ends at the latest time, and not before', async () => {
  using follower = openSignatureNotices(nothing).follow('one', new AbortController().signal)
  const next = follower.next(300_000, 0)
  await vi.advanceTimersByTimeAsync(299_999)
  expect(await isPending(next)).toBe(true)
  await vi.advanceTimersByTimeAsync(1)
  await next
})

test.each([0, 1, 3_600_000])(
  'a latest time that was %i ms ago is waited for a second, not for nothing',
  async (agoMs) => {
    using follower = openSignatureNotices(nothing).follow('one', new AbortController().signal)
    const next = follower.next(-agoMs, 0)
    await vi.advanceTimersByTimeAsync(999)
    expect(await isPending(next)).toBe(true)
    await vi.advanceTimersByTimeAsync(1)
    await next
  },
)

test('a wait is ended by the signal, with its reason, whether there was a change or not', async () => {
  const notices = openSignatureNotices(nothing)
  const stop = new AbortController()
  using follower = notices.follow('one', stop.signal)
  using changed = notices.follow('two', stop.signal)
  const next = follower.next(300_000, 0)
  notices.notice('two')
  stop.abort(new Error('enough'))
  await expect(next).rejects.toThrow('enough')
  await expect(changed.next(300_000, 0)).rejects.toThrow('enough')
})

test('with a signal that was aborted before, there is no wait', async () => {
  using follower = openSignatureNotices(nothing).follow('one', AbortSignal.abort(new Error('enough')))
  const next = follower.next(300_000, 0)
  next.catch(() => {})
  expect(await isPending(next)).toBe(false)
  await expect(next).rejects.toThrow('enough')
})

test('of those who follow a signature, one may leave and the others are told', async () => {
  const notices = openSignatureNotices(nothing)
  const signal = new AbortController().signal
  using staying = notices.follow('one', signal)
  notices.follow('one', signal)[Symbol.dispose]()
  const next = staying.next(300_000, 0)
  notices.notice('one')
  await next
})

test('who leaves leaves nothing behind: not in the map, not at the signal', () => {
  const added: unknown[] = []
  const { signal } = new AbortController()
  vi.spyOn(signal, 'addEventListener').mockImplementation((_type, listener) => void added.push(listener))
  const removed: unknown[] = []
  vi.spyOn(signal, 'removeEventListener').mockImplementation((_type, listener) => void removed.push(listener))
  const maps = spiedMaps()
  const notices = openSignatureNotices(nothing)
  const followers = Array.from({ length: 100 }, (_, n) => notices.follow(`signature-${n % 50}`, signal))
  expect(maps.sizes()).toEqual([50])

  for (const follower of followers) follower[Symbol.dispose]()

  expect(maps.sizes()).toEqual([0])
  expect(added).toHaveLength(100)
  expect(removed).toEqual(added)
})

test('without a notice a change is found by looking, once for all who follow', async () => {
  const looks: string[][] = []
  const positions = [
    { signatureId: 'one', position: 5 },
    { signatureId: 'two', position: 3 },
    { signatureId: 'gone', position: 9 },
  ]
  const looked = [Promise.withResolvers<void>(), Promise.withResolvers<void>()]
  await using notices = openSignatureNotices(async (ids) => {
    looked[looks.length]?.resolve()
    looks.push(ids)
    if (looks.length === 1) throw new Error('the database is away')
    return positions
  })
  const signal = new AbortController().signal
  {
    using behind = notices.follow('one', signal)
    using level = notices.follow('one', signal)
    using other = notices.follow('two', signal)
    using busy = notices.follow('two', signal)
    const told: string[] = []
    const wait = (name: string, next: Promise<void>) => next.then(() => told.push(name))
    const waits = [wait('level', level.next(300_000, 5)), wait('other', other.next(300_000, 3))]
    await wait('behind', behind.next(300_000, 4))
    await looked[1]?.promise
    expect(told).toEqual(['behind'])
    expect(looks).toEqual([
      ['one', 'two'],
      ['one', 'two'],
    ])
    // What happened while it was busy it sees for itself.
    expect(await isPending(busy.next(300_000, 3))).toBe(true)
    notices.notice(undefined)
    await Promise.all(waits)
  }
}, 20_000)

async function nothing() {
  return []
}

/** Whether a promise has not settled, with all that could settle it done. */
async function isPending(promise: Promise<unknown>): Promise<boolean> {
  let pending = true
  const settled = () => {
    pending = false
  }
  promise.then(settled, settled)
  for (let turn = 0; turn < 10; turn++) await Promise.resolve()
  return pending
}

/** The sizes of the maps that something was put in since. */
function spiedMaps() {
  const maps = new Set<Map<unknown, unknown>>()
  const { set } = Map.prototype
  vi.spyOn(Map.prototype, 'set').mockImplementation(function (this: Map<unknown, unknown>, key, value) {
    if (String(key).startsWith('signature-')) maps.add(this)
    return set.call(this, key, value)
  })
  return { sizes: () => [...maps].map(({ size }) => size) }
}

test('five read at once, the others in turn, whatever becomes of those before', async () => {
  const { read } = openSignatureNotices(nothing)
  const held = Array.from({ length: 7 }, () => Promise.withResolvers<number>())
  const begun: number[] = []
  const reads = held.map(({ promise }, n) =>
    read(() => {
      begun.push(n)
      return promise
    }),
  )
  expect(begun).toEqual([0, 1, 2, 3, 4])

  held[3]?.reject(new Error('the database is away'))
  await expect(reads[3]).rejects.toThrow('the database is away')
  await vi.waitFor(() => expect(begun).toEqual([0, 1, 2, 3, 4, 5]))
  for (const { resolve } of held) resolve(1)
  await Promise.all(reads.toSpliced(3, 1))
  expect(begun).toHaveLength(7)
  expect(await read(async () => 'free again')).toBe('free again')
})
