import { expect, test } from 'vitest'
import { formatAmount } from '../../src/domain/amount.ts'
import { isPlainText } from '../../src/domain/text.ts'
import type { Transaction } from '../../src/domain/transaction.ts'
import { smsText } from '../../src/providers/sms-text.ts'
import { seededRandom } from '../support/seeded-random.ts'

const CODE = '012345'

/** 3GPP TS 23.038, 6.2.1: the default alphabet in the order of its codes, without the escape at 0x1B. */
const BASIC =
  '@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !"#¤%&\'()*+,-./0123456789:;<=>?' +
  '¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà'
/** 3GPP TS 23.038, 6.2.1.1: each is sent as an escape and a code, so takes two septets. */
const EXTENSION = '\f^{}\\[~]|€'

/** What a text takes in a message; not a number when a character is in neither table. */
function septets(text: string): number {
  return [...text].reduce(
    (sum, char) => sum + (BASIC.includes(char) ? 1 : EXTENSION.includes(char) ? 2 : Number.NaN),
    0,
  )
}

function transaction(payeeName: string, amount: Partial<Transaction['amount']> = {}): Transaction {
  return {
    amount: { currency: 'EUR', units: 125n, nanos: 500_000_000, ...amount },
    payeeName,
    payeeAccount: 'ES9121000418450200051332',
    transactionType: 'SEPA_CREDIT_TRANSFER',
    reference: 'Invoice 7',
  }
}

/** The payee as the message shows it. */
function shown(payeeName: string, locale = 'en'): string {
  const text = smsText(CODE, transaction(payeeName), locale, 300)
  const [, payee] =
    /^Pay 125\.50 EUR to (.*)\? Your code/s.exec(text) ?? /^Pagar 125,50 EUR a (.*)\. Su clave/s.exec(text) ?? []
  if (payee === undefined) throw new Error(`no payee in: ${text}`)
  return payee
}

test('the message in English', () => {
  expect(smsText(CODE, transaction('ACME Ltd'), 'en', 300)).toBe(
    'Pay 125.50 EUR to ACME Ltd? Your code to sign: 012345. Valid for 5 min. Never share it.',
  )
})

test('the message in Spanish', () => {
  expect(smsText(CODE, transaction('ACME Ltd'), 'es', 300)).toBe(
    'Pagar 125,50 EUR a ACME Ltd. Su clave para firmar: 012345. Caduca en 5 min. No la comparta.',
  )
})

test.for(['es', 'es-ES', 'es-MX', 'es-419', 'ES-mx', 'es-Latn-ES-u-nu-latn'])('%s is Spanish', (locale) => {
  expect(smsText(CODE, transaction('ACME Ltd'), locale, 300)).toMatch(/^Pagar /)
})

test.for(['en', 'en-GB', 'de', 'ca-ES', 'eu', 'zh-Hant-TW', 'und', 'tlh', 'est', 'tostring'])(
  '%s is English, or has no text of its own and gets the English one',
  (locale) => {
    expect(smsText(CODE, transaction('ACME Ltd'), locale, 300)).toMatch(/^Pay 125\.50 EUR /)
  },
)

test.for([
  [600, 10],
  [300, 5],
  [286, 5],
  [60, 1],
  [29, 1],
  [1, 1],
  [0, 1],
] as const)('with %i seconds left it is valid for %i min', ([secondsLeft, minutes]) => {
  expect(smsText(CODE, transaction('ACME Ltd'), 'en', secondsLeft)).toContain(` Valid for ${minutes} min.`)
  expect(smsText(CODE, transaction('ACME Ltd'), 'es', secondsLeft)).toContain(` Caduca en ${minutes} min.`)
})

test.for([
  ['Müller & Söhne ÄÖÜß', 'Müller & Söhne ÄÖÜß'],
  ['Peña Muñoz', 'Peña Muñoz'],
  ['José Núñez', 'José Nuñez'],
  ['Jose\u0301', 'José'],
  ['François Ça', 'Francois Ça'],
  ['Łódź Čapek', 'Lodz Capek'],
  ['ООО «Ромашка»', 'OOO <<Romashka>>'],
  ['“ACME” – L’Été…', '"ACME" - L\'Été...'],
  ['５００ Ｙｅｎ', '500 Yen'],
  ['€uro [1] {2} ~^|\\', '€uro [1] {2} ~^|\\'],
] as const)('the payee %s is shown as %s', ([payee, expected]) => {
  expect(shown(payee)).toBe(expected)
})

test('payees in other scripts are shown in Latin letters', () => {
  for (const payee of ['株式会社', 'شركة النور', 'חברת החשמל', 'บริษัท', 'Ελληνική', '삼성전자', 'টাটা', '😀']) {
    expect(shown(payee)).toMatch(/[A-Za-z]/)
  }
})

test('what no Latin letters are known for is shown as question marks, so that a payee never vanishes', () => {
  expect(shown('\u{10950}\u{10951}')).toBe('??')
  expect(shown('A\u{f0000}B')).toBe('A?B')
  expect(shown('\u0301')).not.toBe('')
  expect(shown('\u200d\u200b')).not.toBe('')
})

test.for(['en', 'es'])('a payee is cut only when it has to be, and then visibly (%s)', (locale) => {
  const around = septets(smsText(CODE, transaction('A'), locale, 300)) - 1
  const longest = 'A'.repeat(160 - around)

  expect(shown(longest, locale)).toBe(longest)
  expect(septets(smsText(CODE, transaction(longest), locale, 300))).toBe(160)
  expect(shown(`${longest}A`, locale)).toBe(`${longest.slice(0, -3)}...`)
  expect(septets(smsText(CODE, transaction(`${longest}A`), locale, 300))).toBe(160)
})

test('characters that take two places count as two where a payee is cut', () => {
  const around = septets(smsText(CODE, transaction('A'), 'en', 300)) - 1
  const room = 160 - around
  const fits = '€'.repeat(Math.floor(room / 2))
  expect(shown(fits)).toBe(fits)
  expect(shown('€'.repeat(140))).toBe(`${'€'.repeat(Math.floor((room - 3) / 2))}...`)
})

test('a cut leaves no space before the dots', () => {
  const payee = `${'A'.repeat(30)}${' '.repeat(100)}B`
  expect(shown(payee)).toBe(`${'A'.repeat(30)}...`)
})

test('a payee of 140 emoji with long names does not hold the process up', () => {
  const startedMs = performance.now()
  for (let message = 0; message < 20; message++) shown('\u{1faf0}'.repeat(140))
  // About 20 ms when the work grows with the length, 10 s when it grows with its square.
  expect(performance.now() - startedMs).toBeLessThan(2_000)
})

test('whatever the payee, amount, code and language: one segment of GSM-7, code and amount whole, and in this order', () => {
  const random = seededRandom(42)
  const alphabets: [from: number, to: number][] = [
    [0x20, 0x7e], // ASCII
    [0x5b, 0x5e], // extension characters of GSM-7
    [0xa0, 0x24f], // Latin with marks
    [0x300, 0x36f], // combining marks
    [0x370, 0x3ff], // Greek
    [0x400, 0x52f], // Cyrillic
    [0x590, 0x6ff], // Hebrew, Arabic
    [0x900, 0xe7f], // Indic scripts, Thai
    [0x2000, 0x2bff], // punctuation, currency signs, symbols
    [0x3040, 0x9fff], // kana, Han
    [0xac00, 0xd7a3], // Hangul
    [0xe000, 0xf8ff], // private use
    [0xfb00, 0xffff], // ligatures, presentation forms, full-width letters, non-characters
    [0x10000, 0x10fff], // old scripts
    [0x1f000, 0x1faff], // emoji
    [0xe0000, 0xe01ef], // tags, variation selectors
    [0x20, 0x10ffff], // anything
  ]
  const payee = () => {
    const own = [random(alphabets.length), random(alphabets.length)]
    const length = random(3) === 0 ? 139 : random(140)
    const chars = Array.from({ length }, () => {
      const [from, to] = alphabets[own[random(2)] ?? 0] ?? [0x41, 0x5a]
      const char = String.fromCodePoint(from + random(to - from + 1))
      return isPlainText(char) ? char : 'x'
    })
    // The last letter tells whether the payee was cut.
    return `${chars.join('')}@`
  }
  const amounts: Transaction['amount'][] = [
    { currency: 'EUR', units: 0n, nanos: 10_000_000 },
    { currency: 'EUR', units: 9_223_372_036_854_775_807n, nanos: 990_000_000 },
    { currency: 'JPY', units: 9_223_372_036_854_775_807n, nanos: 0 },
    { currency: 'KWD', units: 9_223_372_036_854_775_807n, nanos: 999_000_000 },
    { currency: 'CLF', units: 9_223_372_036_854_775_807n, nanos: 999_900_000 },
  ]
  const shapes = {
    en: /^Pay (.+? [A-Z]{3}) to (.*)\? Your code to sign: (\d{6})\. Valid for (\d+) min\. Never share it\.$/s,
    es: /^Pagar (.+? [A-Z]{3}) a (.*)\. Su clave para firmar: (\d{6})\. Caduca en (\d+) min\. No la comparta\.$/s,
  }
  const seen = { whole: 0, cut: 0 }

  for (let round = 0; round < 3_000; round++) {
    const payeeName = payee()
    const amount = amounts[random(amounts.length)]
    const code = String(random(1_000_000)).padStart(6, '0')
    const language = random(2) === 0 ? 'en' : 'es'

    const text = smsText(code, transaction(payeeName, amount), language, 600)

    const context = JSON.stringify({ payeeName, text })
    expect(septets(text), context).toBeLessThanOrEqual(160)
    const [, shownAmount, shownPayee = '', shownCode, minutes] = shapes[language].exec(text) ?? []
    expect(shownAmount, context).toBe(formatAmount(transaction('', amount).amount, language))
    expect(shownCode, context).toBe(code)
    expect(minutes, context).toBe('10')
    expect(shownPayee, context).toMatch(/(@|\.\.\.)$/)
    seen[shownPayee.endsWith('@') ? 'whole' : 'cut'] += 1
  }
  expect(seen.cut).toBeGreaterThan(500)
  expect(seen.whole).toBeGreaterThan(500)
})
