import { expect, test } from 'vitest'
import {
  type Amount,
  currencyDigits,
  formatAmount,
  fromDecimal,
  toDecimal,
  totalNanos,
} from '../../src/domain/amount.ts'
import { CURRENCY_DIGITS } from '../../src/domain/currencies.ts'
import { CALLING_CODES } from '../../src/domain/phone.ts'

const INT64_MAX = 9_223_372_036_854_775_807n

function amount(currency: string, units: bigint, nanos = 0): Amount {
  return { currency, units, nanos }
}

test.for([
  { units: 0n, nanos: 1, decimal: '0.000000001' },
  { units: 125n, nanos: 500_000_000, decimal: '125.500000000' },
  { units: 1n, nanos: 50_000_000, decimal: '1.050000000' },
  { units: 12n, nanos: 0, decimal: '12.000000000' },
  { units: INT64_MAX, nanos: 999_999_999, decimal: '9223372036854775807.999999999' },
])('$decimal is written and read without loss', ({ units, nanos, decimal }) => {
  expect(toDecimal({ units, nanos })).toBe(decimal)
  expect(fromDecimal(decimal)).toEqual({ units, nanos })
})

test('a decimal with fewer digits after the point, or none, is read as well', () => {
  expect(fromDecimal('125.5')).toEqual({ units: 125n, nanos: 500_000_000 })
  expect(fromDecimal('125.05')).toEqual({ units: 125n, nanos: 50_000_000 })
  expect(fromDecimal('125')).toEqual({ units: 125n, nanos: 0 })
})

test('the total counts billionths exactly, beyond what a floating-point number holds', () => {
  expect(totalNanos({ units: 1n, nanos: 1 })).toBe(1_000_000_001n)
  expect(totalNanos({ units: INT64_MAX, nanos: 999_999_999 })).toBe(9_223_372_036_854_775_807_999_999_999n)
})

test('a currency has the digits that ISO 4217 gives it', () => {
  expect(currencyDigits('EUR')).toBe(2)
  expect(currencyDigits('USD')).toBe(2)
  expect(currencyDigits('JPY')).toBe(0)
  expect(currencyDigits('KWD')).toBe(3)
  expect(currencyDigits('CLF')).toBe(4)
})

test('the list of currencies is that of 2026', () => {
  for (const current of ['XCG', 'ZWG', 'SLE', 'VED', 'MRU', 'STN', 'XAD']) expect(currencyDigits(current)).toBe(2)
  for (const gone of ['ANG', 'BGN', 'HRK', 'LTL', 'CUC', 'SLL', 'ZWL', 'ZWD', 'MRO', 'STD', 'BYR', 'VEF', 'DEM']) {
    expect(currencyDigits(gone)).toBeUndefined()
  }
})

// CLDR's digits are those of cash, which for some currencies are fewer than ISO 4217's.
const NO_SMALL_CASH = new Set('AFN ALL COP HUF IDR IQD IRR KPW LAK LBP MGA MMK PKR SOS SYP YER'.split(' '))
// Funds, metals and units of account, which have no cash; and the bolívar's second code.
const NOT_IN_ICU = new Set('BOV CHE CHW CLF COU MXV USN UYI UYW VED XAD XAG XAU XBA XBB XBC XBD XPD XPT XUA'.split(' '))

test('every currency is one that ICU knows, and has the digits that it gives', () => {
  const known = new Set(Intl.supportedValuesOf('currency'))
  expect(new Set([...CURRENCY_DIGITS.keys()].filter((currency) => !known.has(currency)))).toEqual(NOT_IN_ICU)
  for (const [currency, digits] of CURRENCY_DIGITS) {
    const icu = new Intl.NumberFormat('en', { style: 'currency', currency }).resolvedOptions().maximumFractionDigits
    if (NOT_IN_ICU.has(currency) || ['XDR', 'XSU'].includes(currency)) continue
    if (NO_SMALL_CASH.has(currency)) expect(digits, currency).toBeGreaterThan(icu ?? 0)
    else expect([currency, digits]).toEqual([currency, icu])
  }
})

test.for(['', 'EU', 'EURO', 'eur', 'Eur', ' EUR', 'EUR\n', 'ZZZ', 'XXX', 'XTS', '978', '€', 'ＥＵＲ'])(
  '%j is no currency',
  (currency) => {
    expect(currencyDigits(currency)).toBeUndefined()
  },
)

test.for([
  [amount('EUR', 125n, 500_000_000), '125.50 EUR', '125,50 EUR'],
  [amount('EUR', 1_234n, 500_000_000), '1,234.50 EUR', '1234,50 EUR'],
  [amount('EUR', 12_345n), '12,345.00 EUR', '12.345,00 EUR'],
  [amount('EUR', 0n, 10_000_000), '0.01 EUR', '0,01 EUR'],
  [amount('JPY', 1_000_000n), '1,000,000 JPY', '1.000.000 JPY'],
  [amount('KWD', 0n, 1_000_000), '0.001 KWD', '0,001 KWD'],
  [amount('EUR', INT64_MAX, 990_000_000), '9,223,372,036,854,775,807.99 EUR', '9.223.372.036.854.775.807,99 EUR'],
] as const)('%o reads %s in English and %s in Spanish', ([value, english, spanish]) => {
  expect(formatAmount(value, 'en')).toBe(english)
  expect(formatAmount(value, 'es')).toBe(spanish)
})

test('an amount never shows more than four digits in a row, whatever the region', () => {
  const regions = [...CALLING_CODES.keys(), '419', '150', '001']
  for (const locale of regions.flatMap((region) => [`en-${region}`, `es-${region}`])) {
    expect(formatAmount(amount('EUR', 1_234_567n), locale)).not.toMatch(/\d{5}/)
    expect(formatAmount(amount('JPY', 123_456n), locale)).not.toMatch(/\d{5}/)
  }
})
