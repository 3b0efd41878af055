import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { renderPage, renderPhones } from '../../src/sandbox/phone/phone-page.ts'
import { message, type PhoneServer, startPhone } from '../support/phone-server.ts'
import { sandboxOnFreePort, text } from '../support/sandbox-client.ts'

let phone: PhoneServer

beforeEach(async () => {
  phone = await startPhone()
})
afterEach(() => phone[Symbol.asyncDispose]())

function texts(markup: string): string[] {
  return [...markup.matchAll(/<p class="text" dir="auto">(.*?)<\/p>/gs)].map(([, inner = '']) => inner)
}

describe('the list', () => {
  test('has a section for each recipient, the newest phone and the newest message first', () => {
    const rendered = renderPhones([
      message({ sid: 'e', to: '+1', body: 'fifth' }),
      message({ sid: 'd', to: 'token', body: 'fourth' }),
      message({ sid: 'c', to: '+2', body: 'third' }),
      message({ sid: 'b', to: '+1', body: 'second' }),
      message({ sid: 'a', to: '+1', body: 'first' }),
    ])
    expect([...rendered.matchAll(/<bdi title="(.*?)">(.*?)<\/bdi><\/h2>/g)].map(([, ...names]) => names)).toEqual([
      ['token', 'Device token'],
      ['+2', '+2'],
      ['+1', '+1'],
    ])
    expect(texts(rendered)).toEqual(['fourth', 'third', 'fifth', 'second', 'first'])
  })

  test('escapes whatever comes from outside', () => {
    const hostile = `<img src=x onerror="alert(1)">'&`
    const escaped = '&lt;img src=x onerror=&quot;alert(1)&quot;&gt;&#39;&amp;'
    const rendered = renderPhones([
      message({ sid: hostile, to: hostile, from: hostile, body: hostile, status: hostile }),
    ])
    expect(rendered).not.toContain('<img')
    expect(texts(rendered)).toEqual([escaped])
    for (const [before, after] of [
      ['id="message-', '"'],
      ['title="', '"'],
      ['from <bdi>', '<'],
      ['</span>', '</span>'],
    ]) {
      expect(rendered).toContain(`${before}${escaped}${after}`)
    }
  })

  test('keeps text of another direction to itself', () => {
    expect(renderPhones([message({ from: 'בנק', body: 'שלם' })])).toMatch(
      /<bdi>בנק<\/bdi>.*<p class="text" dir="auto">שלם</s,
    )
  })

  test('shortens a registration token and keeps two of them apart', () => {
    const [first = '', second = ''] = ['a', 'b'].map(
      (letter) => `${'x'.repeat(10)}${letter.repeat(150)}${'y'.repeat(10)}`,
    )
    const rendered = renderPhones([message({ sid: '1', to: first }), message({ sid: '2', to: second })])
    expect(rendered.match(/>Device x{10}…y{10}<\/bdi><\/h2>/g)).toHaveLength(2)
    expect(new Set(rendered.match(/<section id="[^"]+"/g)).size).toBe(2)
  })

  test.each([
    [
      'twilio-sms',
      'Pay 123456 EUR to 654321? Your code: 111222. Valid',
      'Pay 123456 EUR to 654321? Your code: [111222]. Valid',
    ],
    ['vonage-sms', 'Account 1234567890', 'Account 1234567890'],
    ['twilio-sms', '123456 and 9123456', '[123456] and 9123456'],
    [
      'twilio-voice',
      'is: 1 2 3 4 5 6 Once more. 1 2 3 4 5 6 Goodbye.',
      'is: [1 2 3 4 5 6] Once more. [1 2 3 4 5 6] Goodbye.',
    ],
    ['fcm-push', '{"text":"Pay 1 EUR to 654321?","code":"123456"}', 'Pay 1 EUR to 654321?\nCode: [123456]'],
    ['fcm-push', '{"text":"Hello"}', 'Hello'],
    ['fcm-push', '{"a":"b"}', '{&quot;a&quot;:&quot;b&quot;}'],
    ['twilio-voice', '', '<em>Nothing to read or hear</em>'],
  ] as const)('shows what %s says and marks the code: %s', (provider, body, expected) => {
    const rendered = renderPhones([message({ provider, body })])
    expect(texts(rendered)[0]?.replaceAll(/<strong class="code">(.*?)<\/strong>/g, '[$1]')).toBe(expected)
    expect(rendered.includes('<button')).toBe(expected.includes('['))
  })

  test.each([
    ['queued', 'open'],
    ['delivered', 'good'],
    ['undelivered', 'bad'],
    ['no-answer', 'bad'],
    ['unheard-of', 'open'],
  ])('says %s in words', (status, tone) => {
    const expected = `<span class="status ${tone}"><span class="unseen">Status: </span>${status}</span>`
    expect(renderPhones([message({ status })])).toContain(expected)
  })

  test('that is empty is told from one that is not by nothing but its phones', () => {
    expect(renderPage([], '1')).toContain('<div id="phones"></div>')
    expect(renderPage([], '1')).toContain('SignatureService/StartSignature')
  })
})

describe('the address', () => {
  test.each([
    ['/', 'text/html; charset=utf-8'],
    ['/?a=b', 'text/html; charset=utf-8'],
    ['/phone.js', 'text/javascript; charset=utf-8'],
    ['/phone.css', 'text/css; charset=utf-8'],
    ['/events', 'text/event-stream'],
  ])('%s answers GET and HEAD with headers that let nothing in from outside', async (path, type) => {
    for (const method of ['HEAD', 'GET']) {
      const leave = new AbortController()
      const { status, headers } = await fetch(phone.url + path, { method, signal: leave.signal })
      leave.abort()
      expect([status, headers.get('content-type')]).toEqual([200, type])
      expect(headers.get('content-security-policy')).toBe(
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
      )
      expect(headers.get('cache-control')).toBe('no-store')
      expect(headers.get('x-content-type-options')).toBe('nosniff')
      expect(headers.get('access-control-allow-origin')).toBeNull()
    }
  })

  test.each(['/', '/phone.js', '/phone.css', '/events'])('%s takes no other method', async (path) => {
    const response = await fetch(phone.url + path, { method: 'POST', body: 'x' })
    expect([response.status, response.headers.get('allow')]).toEqual([405, 'GET, HEAD'])
    expect(await response.json()).toEqual({ problems: [`${path} takes GET, HEAD`] })
  })

  test.each(['/constructor', '/phone.ts', '/phone.js/'])('%s is not the page', async (path) => {
    expect((await fetch(phone.url + path)).status).toBe(404)
  })

  test('/ of the sandbox shows what was sent and forgets what was deleted', async () => {
    await using sandbox = await sandboxOnFreePort()
    await text(sandbox)
    expect(texts(await (await fetch(sandbox.url)).text())).toEqual([
      'Your code is <strong class="code">123456</strong>',
    ])
    await fetch(`${sandbox.url}/messages`, { method: 'DELETE' })
    expect(texts(await (await fetch(sandbox.url)).text())).toEqual([])
  })
})
