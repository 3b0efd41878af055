import { randomBytes } from 'node:crypto'
import type { DescMessage, MessageInitShape } from '@bufbuild/protobuf'
import type { TransactionSchema } from '../../gen/bank/signature/v1/signature_pb.ts'

// Chaos uses these too, and no test runner is there then.

/** 32 random bytes in base64, as keys are set. */
export function randomKey(): string {
  return randomBytes(32).toString('base64')
}

/** The plain form of a message's init. */
export type Init<Schema extends DescMessage> = Extract<MessageInitShape<Schema>, { readonly $typeName?: never }>

/** A transaction that is right in every field. */
export function transaction(fields: Init<typeof TransactionSchema> = {}): Init<typeof TransactionSchema> {
  return {
    amount: { currencyCode: 'EUR', units: 125n, nanos: 500_000_000 },
    payeeName: 'ACME Ltd',
    payeeAccount: 'ES9121000418450200051332',
    transactionType: 'SEPA_CREDIT_TRANSFER',
    reference: 'Invoice 7',
    ...fields,
  }
}

/** Another code than this one. */
export function wrongCode(code: string): string {
  return String((Number(code) + 1) % 1_000_000).padStart(6, '0')
}
