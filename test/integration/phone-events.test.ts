import { once } from 'node:events'
import { get, type IncomingMessage } from 'node:http'
import { connect } from 'node:net'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { renderPhones } from '../../src/sandbox/phone/phone-page.ts'
import { message, type PhoneServer, startPhone } from '../support/phone-server.ts'

let phone: PhoneServer

beforeEach(async () => {
  phone = await startPhone()
})
afterEach(() => phone[Symbol.asyncDispose]())

/** Follows the changes after a position; `frames` gives what came until one that has this in it. */
async function follow(since: string, headers: Record<string, string> = {}) {
  const [response] = (await once(get(`${phone.url}/events?since=${since}`, { headers }), 'response')) as [
    IncomingMessage,
  ]
  let received = ''
  response.setEncoding('utf8').on('data', (chunk: string) => {
    received += chunk
  })
  return {
    response,
    async until(end: string): Promise<string> {
      while (!received.includes(end)) await once(response, 'data')
      return received
    },
  }
}

async function position(): Promise<string> {
  return /data-position="([^"]+)"/.exec(await (await fetch(phone.url)).text())?.[1] ?? ''
}

describe('the events', () => {
  test('tell of a new message, of its change and of messages that went, from where the page was on', async () => {
    const at = await position()
    const stream = await follow(at)
    const sent = message()
    phone.put(sent)
    sent.status = 'delivered'
    phone.put(sent)
    phone.messages.length = 0
    phone.refresh()
    const [hello, first, second, third] = (await stream.until('event: sync\ndata: \n\n')).split(/(?<=\n\n)/)
    expect(hello).toBe('retry: 1000\n\n')
    const start = at.replace(/0$/, '')
    expect(first).toBe(`id: ${start}1\nevent: message\ndata: ${JSON.stringify(renderPhones([message()]))}\n\n`)
    expect(second).toBe(`id: ${start}2\nevent: message\ndata: ${JSON.stringify(renderPhones([sent]))}\n\n`)
    expect(third).toBe(`id: ${start}3\nevent: sync\ndata: \n\n`)
    expect(await position()).toBe(`${start}3`)
  })

  test('say nothing of a message that was deleted', async () => {
    const stream = await follow(await position())
    phone.tell(message({ sid: 'deleted' }))
    phone.put(message())
    expect(await stream.until('message-SM1')).not.toContain('deleted')
  })

  test('begin with another look at the page for whoever missed something, or comes from before a restart', async () => {
    const at = await position()
    phone.put(message())
    const now = await position()
    const sync = `retry: 1000\n\nid: ${now}\nevent: sync\ndata: \n\n`
    expect(await (await follow(at)).until('sync\ndata: \n\n')).toBe(sync)
    expect(await (await follow('')).until('sync\ndata: \n\n')).toBe(sync)
    expect(await (await follow(now, { 'last-event-id': at })).until('sync\ndata: \n\n')).toBe(sync)
    const stream = await follow(at, { 'last-event-id': now })
    phone.put(message({ sid: 'SM2' }))
    expect(await stream.until('event: message')).not.toContain('sync')
  })

  test('go to at most 100 at a time, and the next is told to come again', async () => {
    const streams = await Promise.all(Array.from({ length: 100 }, () => follow('')))
    const refused = await fetch(`${phone.url}/events`)
    expect([refused.status, refused.headers.get('retry-after')]).toEqual([503, '5'])
    expect(await refused.json()).toEqual({ problems: ['too many pages are open'] })
    streams[0]?.response.destroy()
    while ((await follow('')).response.statusCode !== 200);
  })

  test('have a sign of life every 15 seconds', async () => {
    vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval'] })
    try {
      const stream = await follow(await position())
      await stream.until('retry')
      vi.advanceTimersByTime(14_999)
      expect(vi.getTimerCount()).toBe(1)
      vi.advanceTimersByTime(1)
      expect(await stream.until('alive')).toBe('retry: 1000\n\n: alive\n\n')
      stream.response.destroy()
      while (vi.getTimerCount() > 0) await fetch(phone.url)
    } finally {
      vi.useRealTimers()
    }
  })

  test('are cut off from a reader that is more than 1 MiB behind', async () => {
    const reader = connect(phone.port, '127.0.0.1')
    reader.write('GET /events HTTP/1.1\r\nHost: x\r\n\r\n')
    await once(reader, 'data')
    reader.pause()
    const cut = once(reader, 'close')
    const swift = await follow(await position())
    const received = { slow: 0, swift: 0 }
    swift.response.on('data', (chunk) => {
      received.swift += chunk.length
    })
    const body = 'x'.repeat(100_000)
    for (let sent = 1; sent <= 300; sent++) {
      phone.put(message({ sid: `SM${sent}`, body }))
      while (received.swift < sent * body.length) await once(swift.response, 'data')
    }
    reader.on('data', (chunk) => {
      received.slow += chunk.length
    })
    reader.resume()
    await cut
    expect(received.slow).toBeLessThan(received.swift)
  })
})
