import { validate as isUuid } from 'uuid'
import {
  type CompleteSignatureRequest,
  Channel as ProtoChannel,
  type Transaction as ProtoTransaction,
  type StartSignatureRequest,
} from '../../gen/bank/signature/v1/signature_pb.ts'
import type { Money } from '../../gen/google/type/money_pb.ts'
import { type Amount, currencyDigits } from '../domain/amount.ts'
import type { Channel } from '../domain/challenge.ts'
import { isE164 } from '../domain/phone.ts'
import { isPlainText, lengthOf } from '../domain/text.ts'
import type { Transaction } from '../domain/transaction.ts'
import { AppError, type FieldViolation } from '../errors.ts'
import type { CompleteSignature } from '../usecases/complete-signature.ts'
import type { StartSignature } from '../usecases/start-signature.ts'

/** Reads a StartSignatureRequest. Throws INVALID_FIELD with every wrong field. */
export function parseStart(request: StartSignatureRequest, caller: string): StartSignature {
  return parse((check) => ({
    caller,
    idempotencyKey: text(check, 'idempotency_key', request.idempotencyKey, 1, 255),
    customerId: text(check, 'customer_id', request.customerId, 1, 128),
    phone: check('phone_number', request.phoneNumber, isE164(request.phoneNumber), E164),
    transaction: transaction(check, request.transaction),
    channel: channel(check, request.channel),
    locale: locale(check, request.locale || 'en'),
  }))
}

/** Reads a CompleteSignatureRequest. Throws INVALID_FIELD with every wrong field. */
export function parseComplete(request: CompleteSignatureRequest, caller: string): CompleteSignature {
  return parse((check) => ({
    caller,
    signatureId: uuid(check, 'signature_id', request.signatureId),
    code: check('code', request.code, /^[0-9]{6}$/.test(request.code), 'must be exactly six digits 0 to 9'),
    transaction: transaction(check, request.transaction),
  }))
}

/** Reads a request that holds an id and nothing else. Throws INVALID_FIELD. */
export function parseId(field: string, id: string): string {
  return parse((check) => uuid(check, field, id))
}

const E164 = 'must be in E.164: "+", country code and number, 7 to 15 digits in all, nothing between them'

const CHANNELS = new Map<ProtoChannel, Channel | undefined>([
  [ProtoChannel.UNSPECIFIED, undefined],
  [ProtoChannel.SMS, 'SMS'],
  [ProtoChannel.VOICE, 'VOICE'],
  [ProtoChannel.PUSH, 'PUSH'],
])

/** Gives the value back, having noted a violation when it isn't right. */
type Check = <T>(field: string, value: T, right: boolean, mustBe: string) => T

function parse<T>(read: (check: Check) => T): T {
  const violations: FieldViolation[] = []
  const value = read((field, value, right, description) => {
    if (!right) violations.push({ field, description })
    return value
  })
  if (violations.length === 0) return value
  const named = violations.map(({ field, description }) => `${field} ${description}`).join('; ')
  throw new AppError('INVALID_FIELD', named, { violations })
}

function text(check: Check, field: string, value: string, min: number, max: number): string {
  const length = lengthOf(value)
  const size = min === 0 ? `must be at most ${max} characters` : `must be ${min} to ${max} characters`
  check(field, value, length >= min && length <= max, size)
  check(field, value, value === '' || value.trim() !== '', 'must not be blank')
  return check(field, value, isPlainText(value), 'must hold no control characters and no invisible formatting')
}

function uuid(check: Check, field: string, value: string): string {
  return check(field, value, isUuid(value), 'must be a UUID')
}

function channel(check: Check, value: ProtoChannel): Channel | undefined {
  check('channel', value, CHANNELS.has(value), 'must be a known channel, or unspecified')
  return CHANNELS.get(value)
}

function locale(check: Check, value: string): string {
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

function transaction(check: Check, value: ProtoTransaction | undefined): Transaction {
  check('transaction', value, value !== undefined, 'is required')
  const { payeeName = '', payeeAccount = '', transactionType = '', reference = '' } = value ?? {}
  if (!value) return { amount: NOTHING, payeeName, payeeAccount, transactionType, reference }
  return {
    amount: amount(check, value.amount),
    payeeName: text(check, 'transaction.payee_name', payeeName, 1, 140),
    payeeAccount: text(check, 'transaction.payee_account', payeeAccount, 1, 64),
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
  check('transaction.amount.nanos', nanos, nanos % smallest === 0, 'must have no more digits than the currency')
  return { currency, units, nanos }
}
