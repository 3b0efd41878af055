import fc from 'fast-check'
import { expect, test } from 'vitest'
import { formatAmount } from '../../src/domain/amount.ts'
import type { Transaction } from '../../src/domain/transaction.ts'
import { pushTexts, smsText } from '../../src/providers/texts.ts'
import { callTwiml } from '../../src/providers/twilio/speech.ts'
import { CODE, cases, payees, septets, shown, transaction } from '../support/transfers.ts'

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
    (each: Transaction) => callTwiml(each, 'en', 'https://bank.example'),
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
