import { CURRENCY_DIGITS } from './currencies.ts'

/** Money as google.type.Money has it: whole units plus billionths, neither below zero. */
export interface Amount {
  currency: string
  units: bigint
  nanos: number
}

const NANOS_PER_UNIT = 1_000_000_000n

/** Returns a currency's digits after the point by ISO 4217 (2 for EUR, 0 for JPY); undefined for an unknown currency. */
export function currencyDigits(currency: string): number | undefined {
  return CURRENCY_DIGITS.get(currency)
}

/** Returns an amount in billionths of a unit, for comparing within one currency. */
export function totalNanos({ units, nanos }: Pick<Amount, 'units' | 'nanos'>): bigint {
  return units * NANOS_PER_UNIT + BigInt(nanos)
}

/** Returns an amount as a decimal number with nine digits after the point, as PostgreSQL's numeric(28,9) stores it. */
export function toDecimal({ units, nanos }: Pick<Amount, 'units' | 'nanos'>): string {
  return `${units}.${String(nanos).padStart(9, '0')}`
}

/** Reads what {@link toDecimal} wrote; fewer digits after the point, or none, are fine too. */
export function fromDecimal(decimal: string): Pick<Amount, 'units' | 'nanos'> {
  const [units = '0', fraction = ''] = decimal.split('.')
  return { units: BigInt(units), nanos: Number(fraction.padEnd(9, '0')) }
}

/** The amount as people of that locale write it, with all its currency's digits: `1,234.50 EUR`, `1234,50 EUR`. */
export function formatAmount(amount: Amount, locale: string): string {
  const digits = currencyDigits(amount.currency) ?? 2
  const format = new Intl.NumberFormat(locale, { minimumFractionDigits: digits, maximumFractionDigits: digits })
  return `${format.format(toDecimal(amount) as Intl.StringNumericLiteral)} ${amount.currency}`
}
