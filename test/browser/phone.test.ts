import type { Page } from 'playwright-core'
import { afterAll, afterEach, beforeEach, describe, expect, test } from 'vitest'
import { launchBrowser } from '../support/browser.ts'
import { message, type PhoneServer, startPhone } from '../support/phone-server.ts'
import { visits } from '../support/phone-visits.ts'
import { startReceiver } from '../support/receiver.ts'
import { ring, sandboxOnFreePort, TO, text } from '../support/sandbox-client.ts'

const browser = await launchBrowser()
const name = browser ? 'a phone' : 'a phone (skipped: there is neither Linux x64, for the npm package, nor a Chrome)'
const { open, leave } = visits(browser)
afterAll(() => browser?.close())

let phone: PhoneServer

beforeEach(async () => {
  phone = await startPhone()
})
afterEach(() => phone[Symbol.asyncDispose]())
afterEach(async () => expect(await leave()).toEqual([]))

/** Waits until a phone has this many messages, and gives the texts of all from the top. */
async function texts(page: Page, count: number): Promise<string[]> {
  await page.locator(`.phone li:nth-last-child(${count})`).first().waitFor()
  return page.locator('.text').allTextContents()
}

describe.skipIf(!browser)(name, () => {
  test('shows what is sent over the sandbox as it comes, and nothing once it is deleted', async () => {
    await using sandbox = await sandboxOnFreePort({ receipts: 'delivered' })
    const page = await open(sandbox.url)
    await page.getByRole('heading', { name: 'No messages yet' }).waitFor()
    await text(sandbox)
    await page.getByRole('listitem').filter({ hasText: 'Text message' }).getByText('delivered').waitFor()
    await ring(sandbox)
    expect(await texts(page, 2)).toEqual(['Your code is 123456', 'Your code is 123456'])
    expect(await page.locator('.kind').allTextContents()).toEqual(['Call', 'Text message'])
    expect(await page.getByRole('heading').allTextContents()).toContain(TO)
    expect(await page.getByRole('heading', { name: 'No messages yet' }).isVisible()).toBe(false)
    await fetch(`${sandbox.url}/messages`, { method: 'DELETE' })
    await page.getByRole('heading', { name: 'No messages yet' }).waitFor()
    expect(await page.locator('.phone').count()).toBe(0)
  })

  test('presses the key that a call asks for, and shows what is said then', async () => {
    await using sandbox = await sandboxOnFreePort({ receipts: 'delivered' })
    await using service = await startReceiver()
    service.answerNext({ body: '<Response><Say>Your code is 1 2 3 4 5 6</Say></Response>' })
    const Twiml = `<Response><Gather action="${service.url}/keys"><Say>Press 1</Say></Gather></Response>`
    const page = await open(sandbox.url)
    await ring(sandbox, { Twiml })
    await page.getByRole('button', { name: /^Press 1 in Call to / }).click()
    await page.getByRole('button', { name: /^Copy code from Call to / }).waitFor()
    expect(await page.locator('.text').allTextContents()).toEqual(['Press 1\nYour code is 1 2 3 4 5 6'])
    await page
      .getByRole('log')
      .getByText(/: Press 1\s+Your code is 1 2 3 4 5 6$/)
      .waitFor()
    await page.locator('.status.good', { hasText: 'completed' }).waitFor()
  })

  test('shows a new status, tells it, and leaves the focus where it is', async () => {
    const sent = message()
    phone.put(sent)
    const page = await open(phone.url)
    const button = page.getByRole('button')
    await button.focus()
    sent.status = 'delivered'
    phone.put(sent)
    await page.locator('.status', { hasText: 'delivered' }).waitFor()
    await page
      .getByRole('log')
      .getByText(/^Text message to \+34600111222, .*11:20:30: delivered$/)
      .waitFor()
    expect(await page.locator('li').count()).toBe(1)
    expect(await page.evaluate('document.activeElement.localName')).toBe('button')
  })

  test('is worked by keyboard alone: Tab reaches each code, Enter copies it', async () => {
    phone.put(message({ provider: 'twilio-voice', sid: 'CA1', body: 'Your code is 6 5 4 3 2 1' }))
    phone.put(message({ created_at: '2026-03-02T10:20:31.000Z' }))
    const page = await open(phone.url, { permissions: ['clipboard-read', 'clipboard-write'] })
    const names: string[] = []
    for (const code of ['123456', '654321']) {
      await page.keyboard.press('Tab')
      names.push((await page.locator(':focus').ariaSnapshot()).split('\n', 1)[0] ?? '')
      await page.keyboard.press('Enter')
      await page.locator(':focus', { hasText: 'Copied' }).waitFor()
      expect(await page.evaluate('navigator.clipboard.readText()')).toBe(code)
    }
    expect(names).toEqual([
      '- button "Copy code from Text message to +34600111222, 02/03/2026, 11:20:31":',
      '- button "Copy code from Call to +34600111222, 02/03/2026, 11:20:30":',
    ])
  })

  test('copies where the browser keeps its clipboard from the page', async () => {
    phone.put(message())
    const page = await open(phone.url, { permissions: ['clipboard-read', 'clipboard-write'] })
    await page.evaluate("Object.defineProperty(navigator, 'clipboard', { value: undefined, configurable: true })")
    await page.getByRole('button').click()
    await page.getByRole('log').getByText('Code copied').waitFor()
    await page.evaluate('delete navigator.clipboard')
    expect(await page.evaluate('navigator.clipboard.readText()')).toBe('123456')
  })

  test('is a plain list without JavaScript', async () => {
    phone.put(message())
    const page = await open(phone.url, { javaScriptEnabled: false })
    expect(await page.getByRole('main').ariaSnapshot()).toBe(`- main:
  - region "+34600111222":
    - heading "+34600111222" [level=2]
    - list:
      - listitem:
        - paragraph:
          - text: Text message from Bank
          - time: 2026-03-02 10:20:30 UTC
        - paragraph:
          - text: "Pay 125.50 EUR to ACME Ltd? Your code to sign:"
          - strong: "123456"
          - text: . Valid for 5 min.
        - paragraph: "twilio-sms Status: queued"
  - log "News"`)
    await page.locator('noscript p').waitFor()
  })

  test('has what a screen reader goes by', async () => {
    phone.put(
      message({ provider: 'fcm-push', to: 'token', body: '{"text":"Pay?","code":"123456"}', status: 'accepted' }),
    )
    const page = await open(phone.url)
    expect(await page.locator('body').ariaSnapshot()).toBe(`- banner:
  - heading "Phones" [level=1]
  - paragraph: What the sandbox was given to send. Nothing leaves this machine.
  - status: Live
- main:
  - region "Device token":
    - heading "Device token" [level=2]
    - list:
      - listitem:
        - paragraph:
          - text: Push from Bank
          - time: 02/03/2026, 11:20:30
        - paragraph:
          - text: "Pay? Code:"
          - strong: "123456"
        - paragraph:
          - text: "fcm-push Status: accepted"
          - button "Copy code from Push to Device token, 02/03/2026, 11:20:30":
            - text: Copy code from Push to Device token,
            - time: 02/03/2026, 11:20:30
  - log "News"`)
  })

  test("shows a hostile payee's name as what it is, loaded or live", async () => {
    const hostile = `</p><script>alert(1)</script><img src=x onerror="alert(2)">\u202e\u05e9\u05dc\u05dd`
    phone.put(message({ to: hostile, from: hostile, body: hostile }))
    const page = await open(phone.url)
    phone.put(message({ sid: 'SM2', to: `${hostile}2`, from: hostile, body: hostile, status: hostile }))
    await page.locator('.phone').nth(1).waitFor()
    expect(await texts(page, 1)).toEqual([hostile, hostile])
    expect(await page.locator('img, main script').count()).toBe(0)
    await page.getByRole('log').getByText('alert(2)').waitFor()
  })

  test('shows everything once after the sandbox was away, and what it forgot no more', async () => {
    await using stack = new AsyncDisposableStack()
    const first = stack.use(await startPhone([message({ sid: 'kept' }), message({ sid: 'lost', to: '+1' })]))
    const page = await open(first.url)
    await first[Symbol.asyncDispose]()
    await page.getByText('Connection lost').waitFor()
    const second = stack.use(
      await startPhone([message({ sid: 'new', body: 'missed' }), message({ sid: 'kept' })], first.port),
    )
    await page.getByText('Live', { exact: true }).waitFor()
    await page.getByText('missed').first().waitFor()
    second.put(message({ sid: 'newest', body: 'later' }))
    expect((await texts(page, 3)).slice(0, 2)).toEqual(['later', 'missed'])
    expect(await page.locator('li').count()).toBe(3)
  })

  test('comes back by itself when the sandbox had no room for it', async () => {
    const page = await open(phone.url)
    await page.clock.install()
    await page.route('**/events*', (route) => route.fulfill({ status: 503 }), { times: 1 })
    await page.reload()
    await page.getByText('Connection lost').waitFor()
    phone.put(message())
    await page.clock.fastForward(5_000)
    expect(await texts(page, 1)).toHaveLength(1)
    await page.getByText('Live', { exact: true }).waitFor()
  })

  test('keeps no more than the newest thousand', async () => {
    const old = Array.from({ length: 999 }, (_, index) => message({ sid: `old-${index}`, to: '+1' }))
    phone.messages.push(...old, message({ sid: 'oldest', to: '+2', created_at: '2026-03-02T10:20:29.000Z' }))
    const page = await open(phone.url)
    phone.put(message({ sid: 'new', created_at: '2026-03-02T10:20:31.000Z' }))
    await page.getByRole('region', { name: TO }).waitFor()
    expect(await page.locator('li').count()).toBe(1_000)
    expect(await page.getByRole('region', { name: '+2' }).count()).toBe(0)
  })

  test.each([
    [320, undefined],
    [640, '32px'],
  ])('fits a screen of %i px with letters of %s', async (width, fontSize) => {
    phone.put(message({ body: 'x'.repeat(500), from: 'y'.repeat(100) }))
    phone.put(message({ sid: 'SM2', provider: 'twilio-voice', to: 'z'.repeat(160), status: 'undelivered' }))
    const page = await open(phone.url, { viewport: { width, height: 640 } })
    if (fontSize) await page.evaluate(`document.documentElement.style.fontSize = '${fontSize}'`)
    expect(await page.evaluate('document.documentElement.scrollWidth')).toBe(width)
    phone.messages.length = 0
    phone.refresh()
    await page.getByRole('heading', { name: 'No messages yet' }).waitFor()
    expect(await page.evaluate('document.documentElement.scrollWidth')).toBe(width)
  })
})
