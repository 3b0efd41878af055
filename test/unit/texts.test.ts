import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { formatAmount } from '../../src/domain/amount.ts'
import { isPlainText } from '../../src/domain/text.ts'
import type { Transaction } from '../../src/domain/transaction.ts'
import { pushTexts, smsText, voiceTwiml } from '../../src/providers/texts.ts'

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

const AMOUNTS: Transaction['amount'][] = [
  { currency: 'EUR', units: 0n, nanos: 10_000_000 },
  { currency: 'EUR', units: 9_223_372_036_854_775_807n, nanos: 990_000_000 },
  { currency: 'JPY', units: 9_223_372_036_854_775_807n, nanos: 0 },
  { currency: 'KWD', units: 9_223_372_036_854_775_807n, nanos: 999_000_000 },
  { currency: 'CLF', units: 9_223_372_036_854_775_807n, nanos: 999_900_000 },
]
const LANGUAGES = ['en', 'es'] as const

/** Ranges of characters, each with something that a text can trip over. */
const ALPHABETS: [from: number, to: number][] = [
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

/** Payees as the API takes them, up to `maxLength` characters of one or two alphabets. */
function payees(maxLength: number): fc.Arbitrary<string> {
  const char = ([from, to]: [number, number]) =>
    fc
      .integer({ min: from, max: to })
      .map((codePoint) => String.fromCodePoint(codePoint))
      .filter(isPlainText)
  return fc
    .tuple(fc.constantFrom(...ALPHABETS), fc.constantFrom(...ALPHABETS))
    .chain(([one, other]) =>
      fc
        .array(fc.oneof(char(one), char(other)), { minLength: 1, maxLength, size: 'max' })
        .map((chars) => chars.join('')),
    )
}

/** The cases of one channel: code, transaction and locale. */
function cases(payee: fc.Arbitrary<string>) {
  return fc.record({
    code: fc.integer({ min: 0, max: 999_999 }).map((code) => String(code).padStart(6, '0')),
    payeeName: payee,
    amount: fc.constantFrom(...AMOUNTS),
    language: fc.constantFrom(...LANGUAGES),
  })
}

/** The payee as the message shows it. */
function shown(payeeName: string, locale = 'en'): string {
  const text = smsText(CODE, transaction(payeeName), locale, 300)
  const [, payee] =
    /^Pay 125\.50 EUR to (.*)\? Your code/s.exec(text) ?? /^Pagar 125,50 EUR a (.*)\. Su clave/s.exec(text) ?? []
  if (payee === undefined) throw new Error(`no payee in: ${text}`)
  return payee
}

describe('a text message', () => {
  test('reads so in English', () => {
    expect(smsText(CODE, transaction('ACME Ltd'), 'en', 300)).toBe(
      'Pay 125.50 EUR to ACME Ltd? Your code to sign: 012345. Valid for 5 min. Never share it.',
    )
  })

  test('reads so in Spanish', () => {
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

  test('is one segment of GSM-7 whatever it tells of, code and amount whole, and in this order', () => {
    const shapes = {
      en: /^Pay (.+? [A-Z]{3}) to (.*)\? Your code to sign: (\d{6})\. Valid for (\d+) min\. Never share it\.$/s,
      es: /^Pagar (.+? [A-Z]{3}) a (.*)\. Su clave para firmar: (\d{6})\. Caduca en (\d+) min\. No la comparta\.$/s,
    }
    const seen = { whole: 0, cut: 0 }

    // The last letter tells whether the payee was cut.
    fc.assert(
      fc.property(cases(payees(139).map((payee) => `${payee}@`)), ({ code, payeeName, amount, language }) => {
        const text = smsText(code, transaction(payeeName, amount), language, 600)

        expect(septets(text)).toBeLessThanOrEqual(160)
        const [, shownAmount, shownPayee = '', shownCode, minutes] = shapes[language].exec(text) ?? []
        expect([shownAmount, shownCode, minutes]).toEqual([formatAmount(amount, language), code, '10'])
        expect(shownPayee).toMatch(/(@|\.\.\.)$/)
        seen[shownPayee.endsWith('@') ? 'whole' : 'cut'] += 1
      }),
      { numRuns: 1_000 },
    )
    expect(seen.cut).toBeGreaterThan(20)
    expect(seen.whole).toBeGreaterThan(5)
  })
})

describe('a call', () => {
  test('says so in English', () => {
    expect(heard(voiceTwiml(CODE, transaction('ACME & Sons'), 'en'))).toEqual({
      language: 'en-GB',
      said: [
        ...['Pay 125.50 euros to ACME & Sons? Your code to sign is:', ...CODE],
        ...['Once more.', 'Pay 125.50 euros to ACME & Sons? Your code to sign is:', ...CODE],
        'Never share this code. Goodbye.',
      ],
    })
  })

  test('says so in Spanish', () => {
    expect(heard(voiceTwiml(CODE, transaction('Peña Muñoz'), 'es-MX'))).toEqual({
      language: 'es-ES',
      said: [
        ...['Pagar 125,50 euros a Peña Muñoz. Su clave para firmar es:', ...CODE],
        ...['Repetimos.', 'Pagar 125,50 euros a Peña Muñoz. Su clave para firmar es:', ...CODE],
        'No comparta esta clave. Adiós.',
      ],
    })
  })

  test('is in English where there is no text in the language', () => {
    expect(voiceTwiml(CODE, transaction('ACME'), 'de')).toBe(voiceTwiml(CODE, transaction('ACME'), 'en'))
  })

  test.for([
    [{ currency: 'USD', units: 1_234n, nanos: 0 }, '1,234.00 US dollars', '1234,00 dólares estadounidenses'],
    [{ currency: 'JPY', units: 500n, nanos: 0 }, '500 Japanese yen', '500 yenes japoneses'],
    [{ currency: 'KWD', units: 1n, nanos: 5_000_000 }, '1.005 Kuwaiti dinars', '1,005 dinares kuwaitíes'],
  ] as const)('names the currency and says all its digits: %o', ([amount, inEnglish, inSpanish]) => {
    expect(heard(voiceTwiml(CODE, transaction('ACME', amount), 'en')).said[0]).toContain(`Pay ${inEnglish} to`)
    expect(heard(voiceTwiml(CODE, transaction('ACME', amount), 'es')).said[0]).toContain(`Pagar ${inSpanish} a`)
  })

  test('says a payee in Latin letters, and one that would become very long not to its end', () => {
    expect(heard(voiceTwiml(CODE, transaction('Łódź ООО'), 'en')).said[0]).toContain(' to Lodz OOO? ')
    const payee = / to (.*)\? Your/.exec(heard(voiceTwiml(CODE, transaction('\u{1faf0}'.repeat(140)), 'en')).said[0])
    expect(payee?.[1]).toMatch(/^.{137}\.\.\.$/)
  })

  test('takes a payee for words, whatever it looks like', () => {
    const payeeName = '</Say><Hangup/><Say language="en-GB"> & &amp; <![CDATA[ ]]> <!-- "x\''
    expect(heard(voiceTwiml(CODE, transaction(payeeName), 'en')).said[0]).toContain(` to ${payeeName}? `)
  })

  test('is TwiML of at most 4,000 characters whatever it tells of, with amount and payee before each digit, twice', () => {
    const longest = fc.constantFrom('&'.repeat(140), '<'.repeat(140), '\u{1faf0}'.repeat(140), '\ufdfa'.repeat(140))
    fc.assert(
      fc.property(cases(fc.oneof(payees(140), longest)), ({ code, payeeName, amount, language }) => {
        const twiml = voiceTwiml(code, transaction(payeeName, amount), language)

        expect(twiml.length).toBeLessThanOrEqual(4_000)
        const { said } = heard(twiml)
        const [ask = '', ...digits] = said.slice(0, 7)
        expect(digits.join('')).toBe(code)
        expect(said.slice(8, 15)).toEqual([ask, ...digits])
        const shape = { en: /^Pay [\d,.]+ \D+ to (.+)\? Your code/s, es: /^Pagar [\d,.]+ \D+ a (.+)\. Su clave/s }
        expect(septets(shape[language].exec(ask)?.[1] ?? '\0')).toBeLessThanOrEqual(140)
      }),
      { numRuns: 1_000 },
    )
  })
})

describe('a push message', () => {
  test.for([
    ['en-GB', '125.50 EUR', 'Pay 125.50 EUR to ACME Ltd?'],
    ['es', '125,50 EUR', '¿Pagar 125,50 EUR a ACME Ltd?'],
    ['de', '125.50 EUR', 'Pay 125.50 EUR to ACME Ltd?'],
  ] as const)('reads so in %s', ([locale, amount, text]) => {
    expect(pushTexts(transaction('ACME Ltd'), locale)).toEqual({ amount, payee: 'ACME Ltd', text })
  })

  test('shows amount and payee whole, as they were written, in 1,500 bytes at most', () => {
    fc.assert(
      fc.property(cases(payees(140)), ({ payeeName, amount, language }) => {
        const texts = pushTexts(transaction(payeeName, amount), language)

        const shownAmount = formatAmount(amount, language)
        expect(texts).toMatchObject({ amount: shownAmount, payee: payeeName })
        expect(texts.text.indexOf(shownAmount)).toBeGreaterThan(0)
        expect(texts.text.lastIndexOf(payeeName)).toBeGreaterThan(texts.text.indexOf(shownAmount))
        // FCM takes 4,096 for a whole message.
        expect(Buffer.byteLength(Object.values(texts).join(''))).toBeLessThanOrEqual(1_500)
      }),
      { numRuns: 500 },
    )
  })
})

/** What a phone says: each Say with a Pause after it, all in one language. Throws for TwiML of any other shape. */
function heard(twiml: string): { language: string; said: [string, ...string[]] } {
  const [, verbs] = /^<Response>(.*)<\/Response>$/s.exec(twiml) ?? []
  const says = verbs
    ?.split('<Pause length="1"/>')
    .map((verb) => /^<Say language="([\w-]+)">([^<>]*)<\/Say>$/.exec(verb))
  const texts = says?.map((say) => unescapeXml(say?.[2] ?? expect.unreachable(`no TwiML of ours: ${twiml}`)))
  const languages = new Set(says?.map((say) => say?.[1]))
  if (!texts?.[0] || languages.size !== 1) return expect.unreachable(`no TwiML of ours: ${twiml}`)
  return { language: [...languages].join(), said: [texts[0], ...texts.slice(1)] }
}

function unescapeXml(text: string): string {
  if (/&(?!(amp|lt|gt);)/.test(text)) throw new Error(`not escaped: ${text}`)
  return text.replaceAll('&lt;', '<').replaceAll('&gt;', '>').replaceAll('&amp;', '&')
}
