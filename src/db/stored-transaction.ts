import type { Selectable } from 'kysely'
import { fromDecimal } from '../domain/amount.ts'
import { type Transaction, transactionDigest } from '../domain/transaction.ts'
import type { Schema } from './schema.ts'

/** The columns that a transaction is read from and checked with. */
export const TRANSACTION_COLUMNS = [
  'id',
  'amount',
  'currency',
  'payee_name',
  'payee_account',
  'transaction_type',
  'reference',
  'transaction_digest',
] as const

type TransactionRow = Pick<Selectable<Schema['signature']>, (typeof TRANSACTION_COLUMNS)[number]>

/** Thrown for a stored transaction that doesn't match its digest: something other than this service changed its row. */
export class AlteredSignature extends Error {
  override readonly name = 'AlteredSignature'
  readonly signatureId: string

  constructor(signatureId: string) {
    super(`the transaction of signature ${signatureId} does not match its digest`)
    this.signatureId = signatureId
  }
}

/** Returns the transaction of a signature's row. Throws {@link AlteredSignature}. */
export function readTransaction(row: TransactionRow): Transaction {
  // numeric(28,9) takes it, and it is above zero.
  if (row.amount === 'NaN') throw new AlteredSignature(row.id)
  const transaction = {
    amount: { currency: row.currency, ...fromDecimal(row.amount) },
    payeeName: row.payee_name,
    payeeAccount: row.payee_account,
    transactionType: row.transaction_type,
    reference: row.reference,
  }
  if (!transactionDigest(transaction).equals(row.transaction_digest)) throw new AlteredSignature(row.id)
  return transaction
}
