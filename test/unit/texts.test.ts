import anyAscii from 'any-ascii'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { formatAmount } from '../../src/domain/amount.ts'
import { isPlainText } from '../../src/domain/text.ts'
import type { Transaction } from '../../src/domain/transaction.ts'
import { toGsm7 } from '../../src/providers/gsm7.ts'
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

/** What the message shows between its quotation marks. */
function shown(payeeName: string, locale = 'en'): string {
  const text = smsText(CODE, transaction(payeeName), locale, 300)
  const [, payee] =
    /^Pay 125\.50 EUR to "([^"]*)", account \.\.\.1332\? Your code/.exec(text) ??
    /^Pagar 125,50 EUR a "([^"]*)", cuenta \.\.\.1332\. Su clave/.exec(text) ??
    []
  if (payee === undefined) throw new Error(`no payee in: ${text}`)
  return payee
}

describe('a text message', () => {
  test('reads so in English', () => {
    expect(smsText(CODE, transaction('ACME Ltd'), 'en', 300)).toBe(
      'Pay 125.50 EUR to "ACME Ltd", account ...1332? Your code to sign: 012345. Valid for 5 min. Never share it.',
    )
  })

  test('reads so in Spanish', () => {
    expect(smsText(CODE, transaction('ACME Ltd'), 'es', 300)).toBe(
      'Pagar 125,50 EUR a "ACME Ltd", cuenta ...1332. Su clave para firmar: 012345. Caduca en 5 min. No la comparta.',
    )
  })

  test.for(['es', 'es-ES', 'es-MX', 'es-419', 'ES-mx', 'es-Latn-ES-u-nu-latn'])('%s is Spanish', (locale) => {
    expect(smsText(CODE, transaction('ACME Ltd'), locale, 300)).toMatch(/^Pagar /)
  })

  test.for(['en', 'en-GB', 'de', 'ca-AD', 'eu', 'zh-Hant-TW', 'und', 'tlh', 'est', 'tostring'])(
    '%s is English, or has no text of its own and gets the English one',
    (locale) => {
      expect(smsText(CODE, transaction('ACME Ltd'), locale, 300)).toMatch(/^Pay 125\.50 EUR /)
    },
  )

  test.for([
    ['es', '12.500,50', '1234,50'],
    ['es-ES', '12.500,50', '1234,50'],
    ['es-MX', '12,500.50', '1,234.50'],
    ['es-419', '12,500.50', '1,234.50'],
    ['es-US', '12,500.50', '1,234.50'],
    ['es-AR', '12.500,50', '1.234,50'],
    // Spaces that do not break are none of GSM-7's.
    ['es-CR', '12 500,50', '1 234,50'],
    ['en-ZA', '12 500,50', '1 234,50'],
    ['en-CH', "12'500.50", "1'234.50"],
    ['en-IN', '12,500.50', '1,234.50'],
    ['de', '12,500.50', '1,234.50'],
    ['de-DE', '12.500,50', '1.234,50'],
    ['zh-Hant-TW', '12,500.50', '1,234.50'],
  ] as const)("in %s an amount is written as in the locale's region: %s, %s", ([locale, tenThousands, thousands]) => {
    const text = (units: bigint) => smsText(CODE, transaction('ACME', { currency: 'MXN', units }), locale, 300)
    expect(text(12_500n)).toMatch(new RegExp(`^(?:Pay|Pagar) ${tenThousands} MXN `))
    expect(text(1_234n)).toMatch(new RegExp(`^(?:Pay|Pagar) ${thousands} MXN `))
  })

  test.for([
    [600, '10 min'],
    [300, '5 min'],
    [299, '4 min'],
    [120, '2 min'],
    [119, '119 s'],
    [90, '90 s'],
    [30, '30 s'],
    [1, '1 s'],
  ] as const)('with %i seconds left it is valid for %s: never for more', ([secondsLeft, validity]) => {
    expect(smsText(CODE, transaction('ACME Ltd'), 'en', secondsLeft)).toContain(` Valid for ${validity}.`)
    expect(smsText(CODE, transaction('ACME Ltd'), 'es', secondsLeft)).toContain(` Caduca en ${validity}.`)
  })

  test.for([
    ['Müller & Söhne ÄÖÜß', 'Müller & Söhne ÄÖÜß'],
    ['Peña Muñoz', 'Peña Muñoz'],
    ['José Núñez', 'José Nuñez'],
    ['Jose\u0301', 'José'],
    ['François Ça', 'Francois Ça'],
    ['Łódź Čapek', 'Lodz Capek'],
    ['ООО «Ромашка»', 'OOO <<Romashka>>'],
    ['“ACME” – L’Été…', "'ACME' - L'Été..."],
    ['Hawaiʻi ʿAlī', "Hawai'i 'Ali"],
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
    expect(shown('A\u3164B\u034f')).toBe('AB')
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
    const room = 160 - septets(smsText(CODE, transaction('A'), 'en', 300)) + 1
    const kept = 'A'.repeat(room - 4)
    expect(shown(`${kept} ${'B'.repeat(20)}`)).toBe(`${kept}...`)
  })

  test('a payee of 140 emoji with long names does not hold the process up', () => {
    const startedMs = performance.now()
    for (let message = 0; message < 20; message++) shown('\u{1faf0}'.repeat(140))
    // About 20 ms when the work grows with the length, 10 s when it grows with its square.
    expect(performance.now() - startedMs).toBeLessThan(2_000)
  })

  test('what any character is transliterated to, GSM-7 has', () => {
    const beyond: string[] = []
    for (let codePoint = 0x20; codePoint <= 0x10ffff; codePoint++) {
      const char = codePoint >= 0xd800 && codePoint <= 0xdfff ? '' : String.fromCodePoint(codePoint)
      if (isPlainText(char) && Number.isNaN(septets(anyAscii(char)))) beyond.push(char)
    }
    expect(beyond.length).toBeGreaterThan(100)
    expect(beyond.filter((char) => !/^[^?]+$/.test(toGsm7(char)))).toEqual([])
  })

  test('is one segment of GSM-7 whatever it tells of, code and amount whole, and in this order', () => {
    const shapes = {
      en: /^Pay (.+? [A-Z]{3}) to "([^"]*)", account \.\.\.1332\? Your code to sign: (.{6})\. Valid for (\d+ min)\. Never share it\.$/,
      es: /^Pagar (.+? [A-Z]{3}) a "([^"]*)", cuenta \.\.\.1332\. Su clave para firmar: (.{6})\. Caduca en (\d+ min)\. No la comparta\.$/,
    }
    const seen = { whole: 0, cut: 0 }

    // The last letter tells whether the payee was cut.
    fc.assert(
      fc.property(cases(payees(138).map((payee) => `${payee} §`)), ({ code, payeeName, amount, language }) => {
        const text = smsText(code, transaction(payeeName, amount), language, 600)

        expect(septets(text)).toBeLessThanOrEqual(160)
        const [, shownAmount, shownPayee = '', shownCode, validity] = shapes[language].exec(text) ?? []
        expect([shownAmount, shownCode, validity]).toEqual([formatAmount(amount, language), code, '10 min'])
        expect(shownPayee).toMatch(/(§|\.\.\.)$/)
        seen[shownPayee.endsWith('§') ? 'whole' : 'cut'] += 1
        // Any six characters may stand for the code.
        expect(smsText('######', transaction(payeeName, amount), language, 600)).toBe(text.replace(code, '######'))
      }),
      { numRuns: 1_000 },
    )
    expect(seen.cut).toBeGreaterThan(20)
    expect(seen.whole).toBeGreaterThan(5)
  })
})

describe('a payee', () => {
  test.for([
    ['AMAZON.ES', 'AMAZON. ES'],
    ['Booking.com', 'Booking. com'],
    ['1234567 Ontario Ltd', '...4567 Ontario Ltd'],
    ['12345 Ontario Ltd', '12345 Ontario Ltd'],
    ["L'Oréal S.A.", "L'Oréal S.A."],
    ['J.P. Morgan & Co.', 'J.P. Morgan & Co.'],
    ['24/7 Shop c/o 7-Eleven', '24/7 Shop c/o 7-Eleven'],
    ['Re:Invent', 'Re: Invent'],
    ['ACME. FRAUD ALERT: cancel at https://bank-secure.example', 'ACME. FRAUD ALERT: cancel at bank-secure. example'],
    ['http://evil.example/a?b=c#d now', 'evil. example now'],
    ['hthttps://tps://evil.example', 'evil. example'],
    ['bit.ly/abc', 'bit. ly'],
    ['mailto:a.b@evil.example', 'mailto: a.b @ evil. example'],
    ['192.0.2', '192.0.2'],
    ['1.1.1.1', '1. 1.1.1'],
    ['evil.example?a#b', 'evil. example?a#b'],
    ['Call +34 (600) 111-222 now', 'Call ...1222 now'],
    ['tel:112233', 'tel: ...2233'],
    ['Your code to sign: 999999', 'Your code to sign: ...9999'],
    ['Code 9-9-9-9-9-9.', 'Code ...9999.'],
    ['１２３４５６', '...3456'],
    ['٠١٢٣٤٥', '...2345'],
    ['𝟏𝟐𝟑𝟒𝟓𝟔 ①②③④⑤⑥', '...3456'],
    ['evil。example', 'evil. example'],
    ['𝐞𝐯𝐢𝐥．𝐜𝐨𝐦', 'evil. com'],
    ['ACME", account ...9999? "', "ACME', account ...9999? '"],
    ["ACME'', to ``X´´", "ACME', to 'X'"],
    ['A   B', 'A B'],
    ['https://', '?'],
  ] as const)('%s is shown so that nothing in it works: %s', ([payee, expected]) => {
    expect(shown(payee)).toBe(expected)
  })

  test('keeps its letters in a push, and nothing in it works there either', () => {
    const payee = (name: string) => pushTexts(transaction(name), 'en').payee
    expect(payee('Ελληνική Τράπεζα')).toBe('Ελληνική Τράπεζα')
    expect(payee('пример.рф/путь ١٢٣٤٥٦')).toBe('пример. рф ...٣٤٥٦')
    expect(payee('例え。テスト')).toBe('例え。 テスト')
    expect(payee('evil.c\u200dom')).toBe('evil. c\u200dom')
    expect(payee('“ACME”')).toBe("'ACME'")
  })

  test("'s account is told by its last four letters and digits, whatever stands between them", () => {
    const account = (payeeAccount: string) => {
      const told = { ...transaction('ACME'), payeeAccount }
      const [, last] = /account \.\.\.(.*)\? Your/.exec(smsText(CODE, told, 'en', 300)) ?? []
      expect(pushTexts(told, 'en')).toMatchObject({
        account: last,
        text: expect.stringContaining(`account ...${last}?`),
      })
      return last
    }
    expect(account('ES91 2100 0418 4502 0005 1332')).toBe('1332')
    expect(account('GB-12-ab.c')).toBe('2abc')
    expect(account('7')).toBe('7')
    expect(account('９８７６５')).toBe('8765')
    expect(account('Счёт')).toBe('chet')
  })

  test('of two accounts under one name gives two texts, and so do two names over one account', () => {
    const names = [
      'AMAZON.ES',
      'Booking.com',
      '1234567 Ontario Ltd',
      '7654321 Ontario Ltd',
      'ACME Ltd',
      'ACME S.A.',
      '株式会社',
    ]
    const accounts = ['ES9121000418450200051332', 'ES7921000813610123456789']
    const all = names.flatMap((name) => accounts.map((payeeAccount) => ({ ...transaction(name), payeeAccount })))
    for (const text of [
      (each: Transaction) => smsText(CODE, each, 'en', 300),
      (each: Transaction) => voiceTwiml(CODE, each, 'en'),
      (each: Transaction) => pushTexts(each, 'en').text,
    ]) {
      expect(new Set(all.map(text)).size).toBe(all.length)
    }
  })

  test('never works, whatever it is made of, in a text or in a push: no link, no call, no second code', () => {
    fc.assert(
      fc.property(cases(hostile()), ({ code, payeeName, amount, language }) => {
        const told = transaction(payeeName, amount)
        const text = smsText(code, told, language, 300)
        expect(text.match(/\d{6,}/g)).toEqual([code])
        expect(septets(text)).toBeLessThanOrEqual(160)
        const push = pushTexts(told, language)
        expect(push.text).not.toMatch(/\p{Nd}{6}/u)
        expect(text.match(/"/g)).toHaveLength(2)
        expect(push.text.match(/["“”„‟″]/g)).toHaveLength(2)
        // Whatever the amount is, it is the customer's own.
        const shownAmount = formatAmount(amount, language)
        for (const around of [
          text.replace(shownAmount, '').replace(code, ''),
          push.text.replace(shownAmount, ''),
          push.payee,
        ]) {
          for (const [what, works] of Object.entries(WORKS)) expect(around, what).not.toMatch(works)
        }
      }),
      { numRuns: 2_000 },
    )
  })
})

/** What phones and mail programs make something of that can be touched. */
const WORKS = {
  'a link with a scheme': /\w:\/\//,
  'a scheme without slashes': /(?:mailto|tel|sms|market|javascript):[^\s".]/i,
  'a host': /[\p{L}\p{N}_-][.。．｡]\p{L}{2,}/u,
  'an address of four numbers': /\d+\.\d+\.\d+\.\d+/,
  'a mail address': /[^\s"]@[^\s".]/,
  'a telephone number': /\p{Nd}(?:[ ./()+_,·-]{0,3}\p{Nd}){5}/u,
  'a new line': /[\n\r\u2028\u2029]/,
}

/** Payees made of pieces that work, of their separators, and of anything else. */
function hostile(): fc.Arbitrary<string> {
  const pieces = fc.constantFrom(
    ...[
      'https://',
      'http:',
      '//',
      'tel:',
      'mailto:',
      'www.',
      '.com',
      '.es/',
      '.рф',
      'evil',
      'bank-secure.example',
      'x@y.es',
    ],
    ...[
      '1',
      '22',
      '600111222',
      '+34',
      '(0)',
      '１２３',
      '٠١٢',
      '①②',
      '𝟗𝟗',
      '.',
      '。',
      '．',
      '․',
      '@',
      ':',
      '/',
      '?',
      '#',
      '"',
    ],
    ...[
      '“',
      '”',
      "''",
      ' ',
      '-',
      '\u200d',
      '\u0301',
      '\u3164',
      '\u2800',
      '\u00a0',
      'Your code to sign: ',
      'ACME',
      'é',
      '株',
    ],
  )
  return fc.oneof(
    fc.array(pieces, { minLength: 1, maxLength: 24 }).map((all) => [...all.join('')].slice(0, 140).join('')),
    payees(140),
  )
}

describe('a call', () => {
  test('says so in English', () => {
    expect(heard(voiceTwiml(CODE, transaction('ACME & Sons'), 'en'))).toEqual({
      language: 'en-GB',
      said: [
        ...['Pay 125.50 euros to "ACME & Sons", account ending in 1 3 3 2? Your code to sign is:', ...CODE],
        ...[
          'Once more.',
          'Pay 125.50 euros to "ACME & Sons", account ending in 1 3 3 2? Your code to sign is:',
          ...CODE,
        ],
        'Never share this code. Goodbye.',
      ],
    })
  })

  test('says so in Spanish', () => {
    expect(heard(voiceTwiml(CODE, transaction('Peña Muñoz'), 'es-MX'))).toEqual({
      language: 'es-ES',
      said: [
        ...['Pagar 125,50 euros a "Peña Muñoz", cuenta terminada en 1 3 3 2. Su clave para firmar es:', ...CODE],
        ...[
          'Repetimos.',
          'Pagar 125,50 euros a "Peña Muñoz", cuenta terminada en 1 3 3 2. Su clave para firmar es:',
          ...CODE,
        ],
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
    expect(heard(voiceTwiml(CODE, transaction('Łódź ООО'), 'en')).said[0]).toContain(' to "Lodz OOO", ')
    const payee = / to "(.*)", account/.exec(
      heard(voiceTwiml(CODE, transaction('\u{1faf0}'.repeat(140)), 'en')).said[0],
    )
    expect(payee?.[1]).toMatch(/^.{137}\.\.\.$/)
  })

  test('takes a payee for words, whatever it looks like', () => {
    const payeeName = "</Say><Hangup/><Say language='en-GB'> & &amp; <![CDATA[ ]]> <!-- x'"
    expect(heard(voiceTwiml(CODE, transaction(payeeName), 'en')).said[0]).toContain(` to "${payeeName}", `)
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
        const shape = { en: /^Pay [\d,.]+ \D+ to "(.+)", account/, es: /^Pagar [\d,.]+ \D+ a "(.+)", cuenta/ }
        expect(septets(shape[language].exec(ask)?.[1] ?? '\0')).toBeLessThanOrEqual(140)
      }),
      { numRuns: 1_000 },
    )
  })
})

describe('a push message', () => {
  test.for([
    ['en-GB', '125.50 EUR', 'Pay 125.50 EUR to "ACME Ltd", account ...1332?'],
    ['es', '125,50 EUR', '¿Pagar 125,50 EUR a "ACME Ltd", cuenta ...1332?'],
    ['de', '125.50 EUR', 'Pay 125.50 EUR to "ACME Ltd", account ...1332?'],
  ] as const)('reads so in %s', ([locale, amount, text]) => {
    expect(pushTexts(transaction('ACME Ltd'), locale)).toEqual({ amount, payee: 'ACME Ltd', account: '1332', text })
  })

  test('shows amount and payee whole, in 1,500 bytes at most', () => {
    const longest = fc.constantFrom('\ufdfa'.repeat(140), '\u{1faf0}'.repeat(140))
    fc.assert(
      fc.property(cases(fc.oneof(payees(140), longest)), ({ payeeName, amount, language }) => {
        const texts = pushTexts(transaction(payeeName, amount), language)

        const shownAmount = formatAmount(amount, language)
        expect(texts.amount).toBe(shownAmount)
        expect(texts.text).toContain(`${shownAmount} ${language === 'es' ? 'a' : 'to'} "${texts.payee}", `)
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
