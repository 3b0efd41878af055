import { validate as isUuid } from 'uuid'
import {
  Channel as ProtoChannel,
  type Transaction as ProtoTransaction,
} from '../../gen/bank/signature/v1/signature_pb.ts'
import type { Money } from '../../gen/google/type/money_pb.ts'
import { type Amount, currencyDigits } from '../domain/amount.ts'
import type { Channel } from '../domain/challenge.ts'
import { isE164, nationalSpelling } from '../domain/phone.ts'
import { isPlainText, isReadable, lengthOf } from '../domain/text.ts'
import type { Transaction } from '../domain/transaction.ts'
import { type FieldViolation, invalidFields } from '../errors.ts'

const E164 = 'must be in E.164: "+", country code and number, 7 to 15 digits in all, nothing between them'

/** Reads a phone number in E.164. */
export function phone(check: Check, value: string): string {
  const mustBe = isE164(value) ? nationalSpelling(value) : E164
  return check('phone_number', value, mustBe === undefined, mustBe ?? '')
}

/** The channel that each value of the contract's enum means. Unknown values are absent. */
export const CHANNEL_NAMES = new Map<ProtoChannel, Channel | undefined>([
  [ProtoChannel.UNSPECIFIED, undefined],
  [ProtoChannel.SMS, 'SMS'],
  [ProtoChannel.VOICE, 'VOICE'],
  [ProtoChannel.PUSH, 'PUSH'],
])

/** Returns `value`. Notes a violation of `field` unless `right`. */
export type Check = <T>(field: string, value: T, right: boolean, mustBe: string) => T

/** Returns what `read` returns. Throws INVALID_FIELD with every violation that it noted. */
export function parse<T>(read: (check: Check) => T): T {
  const violations: FieldViolation[] = []
  const value = read((field, value, right, description) => {
    if (!right) violations.push({ field, description })
    return value
  })
  if (violations.length > 0) throw invalidFields(violations)
  return value
}

/** Reads a text of `min` to `max` characters. Only an empty one may be blank. */
export function text(check: Check, field: string, value: string, min: number, max: number): string {
  const length = lengthOf(value)
  const size = min === 0 ? `must be at most ${max} characters` : `must be ${min} to ${max} characters`
  check(field, value, length >= min && length <= max, size)
  check(field, value, value === '' || value.trim() !== '', 'must not be blank')
  return check(field, value, isPlainText(value), 'must hold no control characters and no invisible formatting')
}

/** Reads a text that is shown to the customer. */
function readable(check: Check, field: string, value: string, max: number): string {
  const isEmpty = isPlainText(value) && value.trim() !== '' && lengthOf(value) <= max && !isReadable(value)
  check(field, value, !isEmpty, 'must have at least one visible letter or digit')
  return text(check, field, value, 1, max)
}

/** Reads a UUID. */
export function uuid(check: Check, field: string, value: string): string {
  return check(field, value, isUuid(value), 'must be a UUID')
}

/** Reads the channel that was asked for. Undefined if it was left unspecified. */
export function channel(check: Check, value: ProtoChannel): Channel | undefined {
  check('channel', value, CHANNEL_NAMES.has(value), 'must be a known channel, or unspecified')
  return CHANNEL_NAMES.get(value)
}

/** Reads a BCP 47 language tag. Returns it in its canonical form. */
export function locale(check: Check, value: string): string {
  const canonical = value.length <= 35 ? canonicalLocale(value) : undefined
  return check('locale', canonical ?? '', canonical !== undefined, 'must be a BCP 47 language tag')
}

function canonicalLocale(tag: string): string | undefined {
  try {
    return Intl.getCanonicalLocales(tag)[0]
  } catch {
    return undefined
  }
}

/** Reads a transaction, with the rules of every field. */
export function transaction(check: Check, value: ProtoTransaction | undefined): Transaction {
  check('transaction', value, value !== undefined, 'is required')
  const { payeeName = '', payeeAccount = '', transactionType = '', reference = '' } = value ?? {}
  if (!value) return { amount: NOTHING, payeeName, payeeAccount, transactionType, reference }
  return {
    amount: amount(check, value.amount),
    payeeName: readable(check, 'transaction.payee_name', payeeName, 140),
    payeeAccount: readable(check, 'transaction.payee_account', payeeAccount, 64),
    transactionType: text(check, 'transaction.transaction_type', transactionType, 0, 64),
    reference: text(check, 'transaction.reference', reference, 0, 140),
  }
}

const NOTHING: Amount = { currency: '', units: 0n, nanos: 0 }

/** https://github.com/googleapis/googleapis/blob/master/google/type/money.proto: nanos are billionths, with the sign of units. */
function amount(check: Check, money: Money | undefined): Amount {
  check('transaction.amount', money, money !== undefined, 'is required')
  if (!money) return NOTHING
  const { currencyCode: currency, units, nanos } = money
  const digits = currencyDigits(currency)
  check('transaction.amount.currency_code', currency, digits !== undefined, 'must be an ISO 4217 code')
  check('transaction.amount.units', units, units >= 0n, 'must not be negative')
  check('transaction.amount.nanos', nanos, nanos >= 0 && nanos < 1e9, 'must be 0 to 999,999,999')
  check('transaction.amount', money, units !== 0n || nanos !== 0, 'must be above zero')
  const smallest = 10 ** (9 - (digits ?? 9))
  check('transaction.amount.nanos', nanos, nanos % smallest === 0, 'must have no more decimal digits than the currency')
  return { currency, units, nanos }
}
