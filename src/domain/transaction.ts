import { createHash } from 'node:crypto'
import type { Amount } from './amount.ts'
import { lengthPrefixed } from './length-prefixed.ts'

/** What a customer signs. */
export interface Transaction {
  amount: Amount
  payeeName: string
  payeeAccount: string
  transactionType: string
  reference: string
}

/**
 * SHA-256 over every field of a transaction. Two transactions have the same digest only when they are the same, which is
 * what binds a code to amount and payee (PSD2 RTS, Delegated Regulation (EU) 2018/389, article 5).
 */
export function transactionDigest(transaction: Transaction): Buffer {
  const { amount, payeeName, payeeAccount, transactionType, reference } = transaction
  const { currency, units, nanos } = amount
  // In this order. A field that isn't here doesn't compile.
  const fields: Record<keyof Transaction, string[]> = {
    amount: [currency, String(units), String(nanos)],
    payeeName: [payeeName],
    payeeAccount: [payeeAccount],
    transactionType: [transactionType],
    reference: [reference],
  }
  return createHash('sha256')
    .update(lengthPrefixed(['signature-router/transaction/v1', ...Object.values(fields).flat()]))
    .digest()
}
