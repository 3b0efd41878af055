import fc from 'fast-check'
import { isPlainText } from '../../src/domain/text.ts'
import type { Transaction } from '../../src/domain/transaction.ts'
import { smsText } from '../../src/providers/texts.ts'

export const CODE = '012345'

/** 3GPP TS 23.038, 6.2.1: the default alphabet in the order of its codes, without the escape at 0x1B. */
const BASIC =
  '@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !"#¤%&\'()*+,-./0123456789:;<=>?' +
  '¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà'
/** 3GPP TS 23.038, 6.2.1.1: each is sent as an escape and a code, so takes two septets. */
const EXTENSION = '\f^{}\\[~]|€'

/** What a text takes in a message; not a number when a character is in neither table. */
export function septets(text: string): number {
  return [...text].reduce(
    (sum, char) => sum + (BASIC.includes(char) ? 1 : EXTENSION.includes(char) ? 2 : Number.NaN),
    0,
  )
}

/** To a payee, 125.50 euros unless told. */
export function transaction(payeeName: string, amount: Partial<Transaction['amount']> = {}): Transaction {
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
export function payees(maxLength: number): fc.Arbitrary<string> {
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
export function cases(payee: fc.Arbitrary<string>) {
  return fc.record({
    code: fc.integer({ min: 0, max: 999_999 }).map((code) => String(code).padStart(6, '0')),
    payeeName: payee,
    amount: fc.constantFrom(...AMOUNTS),
    language: fc.constantFrom(...LANGUAGES),
  })
}

/** What a text message shows of a payee between its quotation marks. */
export function shown(payeeName: string, locale = 'en'): string {
  const text = smsText(CODE, transaction(payeeName), locale, 300)
  const [, payee] =
    /^Pay 125\.50 EUR to "([^"]*)", account \.\.\.1332\? Your code/.exec(text) ??
    /^Pagar 125,50 EUR a "([^"]*)", cuenta \.\.\.1332\. Su clave/.exec(text) ??
    []
  if (payee === undefined) throw new Error(`no payee in: ${text}`)
  return payee
}
