import { join } from 'node:path'
import { pushTexts, smsText } from '../src/providers/texts.ts'
import { spokenTwiml } from '../src/providers/twilio/speech.ts'
import { textOfTwiml } from '../src/sandbox/twilio/twiml.ts'
import { launchBrowser } from '../test/support/browser.ts'
import { message, startPhone } from '../test/support/phone-server.ts'

const FILE = join(import.meta.dirname, '../docs/phone.png')

const NOW = '2026-03-02T10:21:00.000Z'
const PHONE = '+34600111222'
const DEVICE = 'fGx7Kd2mQ0e:APA91bHun4MxP5egoKMwt2KZFBaFUH-1RYqx'
const rent = transaction(950n, 'Inmobiliaria Sol, S.L.')
const shoes = transaction(84n, 'Zapatería Ñandú')
const laptop = transaction(1_249n, 'ACME Ltd')

await using phone = await startPhone([
  message({
    sid: 'push-1',
    provider: 'fcm-push',
    to: DEVICE,
    from: 'sandbox',
    body: JSON.stringify({ ...pushTexts(laptop, 'en'), code: '305871' }),
    status: 'accepted',
    created_at: '2026-03-02T10:20:41.000Z',
  }),
  message({
    provider: 'twilio-voice',
    sid: 'CA1',
    to: PHONE,
    from: '+15005550006',
    body: textOfTwiml(spokenTwiml({ code: '660294', transaction: rent, locale: 'en' })) ?? '',
    status: 'completed',
    created_at: '2026-03-02T10:19:58.000Z',
  }),
  message({
    sid: 'SM1',
    to: PHONE,
    body: smsText('660294', rent, 'en', 300),
    status: 'undelivered',
    created_at: '2026-03-02T10:19:40.000Z',
  }),
  message({
    sid: 'push-2',
    provider: 'fcm-push',
    to: DEVICE,
    from: 'sandbox',
    body: JSON.stringify({ ...pushTexts(shoes, 'es'), code: '492817' }),
    status: 'accepted',
    created_at: '2026-03-02T10:05:12.000Z',
  }),
])
await using browser = await launchBrowser()
if (!browser) throw new Error('there is neither the Chromium of the npm package nor an installed Chrome')
const page = await browser.newPage({
  viewport: { width: 900, height: 580 },
  colorScheme: 'light',
  reducedMotion: 'reduce',
  locale: 'en-GB',
  timezoneId: 'Europe/Madrid',
})
// On the day of the messages, as times of other days come with a date.
await page.clock.setFixedTime(NOW)
await page.goto(phone.url)
await page.getByText('Live', { exact: true }).waitFor()
await page.screenshot({ path: FILE })
process.stdout.write(`${FILE}\n`)

function transaction(units: bigint, payeeName: string) {
  const amount = { currency: 'EUR', units, nanos: 0 }
  return { amount, payeeName, payeeAccount: 'ES9121000418450200051332', transactionType: '', reference: '' }
}
