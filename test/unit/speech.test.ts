import fc from 'fast-check'
import { expect, test } from 'vitest'
import type { Transaction } from '../../src/domain/transaction.ts'
import { callTwiml, spokenTwiml } from '../../src/providers/twilio/speech.ts'
import { CODE, cases, payees, septets, transaction } from '../support/transfers.ts'

const KEYS_URL = 'https://bank.example/webhooks/twilio/keys?challenge=c&attempt=1&code=k.x'

const spoken = (told: Transaction, locale: string, code = CODE) => spokenTwiml({ code, transaction: told, locale })

test('a call asks for a key before it says the code, in English', () => {
  expect(heard(callTwiml(transaction('ACME & Sons'), 'en', KEYS_URL))).toEqual({
    keysUrl: KEYS_URL,
    language: 'en-GB',
    said: [
      ...[
        'Pay 125.50 euros to the payee named:',
        'ACME & Sons',
        'Account ending in 1 3 3 2.',
        'Press 1 to hear your code.',
      ],
      'Once more.',
      ...[
        'Pay 125.50 euros to the payee named:',
        'ACME & Sons',
        'Account ending in 1 3 3 2.',
        'Press 1 to hear your code.',
      ],
    ],
  })
})

test('a call goes on with the code, amount and payee before it, in English', () => {
  const once = [
    'Pay 125.50 euros to the payee named:',
    'ACME & Sons',
    'Account ending in 1 3 3 2.',
    'Your code to sign is:',
  ]
  expect(heard(spoken(transaction('ACME & Sons'), 'en'))).toEqual({
    keysUrl: undefined,
    language: 'en-GB',
    said: [...once, ...CODE, 'Once more.', ...once, ...CODE, 'Never share this code. Goodbye.'],
  })
})

test('a call is in Spanish', () => {
  const transfer = ['Pagar 125,50 euros al beneficiario llamado:', 'Peña Muñoz', 'Cuenta terminada en 1 3 3 2.']
  expect(heard(callTwiml(transaction('Peña Muñoz'), 'es-MX', KEYS_URL))).toMatchObject({
    language: 'es-ES',
    said: [...transfer, 'Pulse 1 para oír su clave.', 'Repetimos.', ...transfer, 'Pulse 1 para oír su clave.'],
  })
  const once = [...transfer, 'Su clave para firmar es:', ...CODE]
  expect(heard(spoken(transaction('Peña Muñoz'), 'es-MX'))).toMatchObject({
    language: 'es-ES',
    said: [...once, 'Repetimos.', ...once, 'No comparta esta clave. Adiós.'],
  })
})

test('a call is in English where there is no text in the language', () => {
  expect(spoken(transaction('ACME'), 'de')).toBe(spoken(transaction('ACME'), 'en'))
  expect(callTwiml(transaction('ACME'), 'de', KEYS_URL)).toBe(callTwiml(transaction('ACME'), 'en', KEYS_URL))
})

test('a call with nothing to say ends', () => {
  expect(spokenTwiml(undefined)).toBe('<Response><Hangup/></Response>')
})

test.for([
  [{ currency: 'USD', units: 1_234n, nanos: 0 }, '1,234.00 US dollars', '1234,00 dólares estadounidenses'],
  [{ currency: 'JPY', units: 500n, nanos: 0 }, '500 Japanese yen', '500 yenes japoneses'],
  [{ currency: 'KWD', units: 1n, nanos: 5_000_000 }, '1.005 Kuwaiti dinars', '1,005 dinares kuwaitíes'],
  // Whatever the region: it is a British and a Spanish voice that read the points and commas.
] as const)('a call names the currency and says all its digits: %o', ([amount, inEnglish, inSpanish]) => {
  expect(heard(spoken(transaction('ACME', amount), 'en-DE')).said[0]).toBe(`Pay ${inEnglish} to the payee named:`)
  expect(heard(spoken(transaction('ACME', amount), 'es-MX')).said[0]).toBe(
    `Pagar ${inSpanish} al beneficiario llamado:`,
  )
})

test('a call says a payee in Latin letters, and one that would become very long not to its end', () => {
  expect(heard(spoken(transaction('Łódź ООО'), 'en')).said[1]).toBe('Lodz OOO')
  expect(heard(spoken(transaction('\u{1faf0}'.repeat(140)), 'en')).said[1]).toMatch(/^.{137}\.\.\.$/)
})

test('a call takes a payee for words, whatever it looks like', () => {
  const payeeName = "</Say><Hangup/><Say language='en-GB'> & &amp; <![CDATA[ ]]> <!-- x'"
  for (const twiml of [callTwiml(transaction(payeeName), 'en', KEYS_URL), spoken(transaction(payeeName), 'en')]) {
    expect(heard(twiml).said[1]).toBe(payeeName)
  }
})

test('is TwiML of at most 4,000 characters whatever it tells of, with amount and payee before each code, and no code before a key', () => {
  const longest = fc.constantFrom('&'.repeat(140), '<'.repeat(140), '\u{1faf0}'.repeat(140), '\ufdfa'.repeat(140))
  fc.assert(
    fc.property(cases(fc.oneof(payees(140), longest)), ({ code, payeeName, amount, language }) => {
      const told = transaction(payeeName, amount)
      const asked = callTwiml(told, language, KEYS_URL)
      expect(asked.length).toBeLessThanOrEqual(4_000)
      const { said } = heard(spoken(told, language, code))
      const [pay = '', payee = '', account, ask, ...rest] = said
      expect(pay).toMatch(
        { en: /^Pay [\d,.]+ \D+ to the payee named:$/, es: /^Pagar [\d,.]+ \D+ al beneficiario llamado:$/ }[language],
      )
      expect(septets(payee)).toBeLessThanOrEqual(140)
      expect(rest.slice(0, 6).join('')).toBe(code)
      expect(said.slice(11, 21)).toEqual([pay, payee, account, ask, ...code])
      expect(heard(asked).said.slice(0, 3)).toEqual([pay, payee, account])
    }),
    { numRuns: 1_000 },
  )
})

/**
 * What a phone says: each Say with a Pause after it, all in one language; and where a key goes. Throws for TwiML of any other
 * shape.
 */
function heard(twiml: string): { keysUrl: string | undefined; language: string; said: [string, ...string[]] } {
  const [, keysUrl, gathered, plain] =
    /^<Response>(?:<Gather numDigits="1" timeout="10" action="([^"]*)">(.*)<\/Gather>|(.*))<\/Response>$/s.exec(
      twiml,
    ) ?? []
  const says = (gathered ?? plain)
    ?.split('<Pause length="1"/>')
    .map((verb) => /^<Say language="([\w-]+)">([^<>]*)<\/Say>$/.exec(verb))
  const texts = says?.map((say) => unescapeXml(say?.[2] ?? expect.unreachable(`no TwiML of ours: ${twiml}`)))
  const languages = new Set(says?.map((say) => say?.[1]))
  if (!texts?.[0] || languages.size !== 1) return expect.unreachable(`no TwiML of ours: ${twiml}`)
  return {
    keysUrl: keysUrl && unescapeXml(keysUrl),
    language: [...languages].join(),
    said: [texts[0], ...texts.slice(1)],
  }
}

function unescapeXml(text: string): string {
  if (/&(?!(amp|lt|gt|quot);)/.test(text)) throw new Error(`not escaped: ${text}`)
  return text.replaceAll('&quot;', '"').replaceAll('&lt;', '<').replaceAll('&gt;', '>').replaceAll('&amp;', '&')
}
