import anyAscii from 'any-ascii'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { formatAmount } from '../../src/domain/amount.ts'
import { isPlainText } from '../../src/domain/text.ts'
import { toGsm7 } from '../../src/providers/gsm7.ts'
import { pushTexts, smsText } from '../../src/providers/texts.ts'
import { CODE, cases, payees, septets, shown, transaction } from '../support/transfers.ts'

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
    expect(performance.now() - startedMs).toBeLessThan(5_000)
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
