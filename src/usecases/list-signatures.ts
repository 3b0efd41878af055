import type { Context } from '../context.ts'
import { listSignatures as list } from '../db/signature-lists.ts'
import { lookUpHmac } from '../domain/look-up-hmac.ts'
import type { Signature, SignatureStatus } from '../domain/signature.ts'
import { reportAltered } from './altered.ts'
import { readForOperator } from './read-for-operator.ts'

export interface ListSignatures {
  caller: string
  /** Undefined matches any, as in the other filters. */
  status: SignatureStatus | undefined
  provider: string | undefined
  customerId: string | undefined
  /** Included. */
  from: Date | undefined
  /** Not included. */
  to: Date | undefined
  pageSize: number
  /** Signature.id of the last one of the page before. */
  after: string | undefined
}

/** Lists signatures, latest first. `next` is the id after which the next page begins. Throws OVERLOADED. */
export async function listSignatures(
  ctx: Pick<Context, 'operatorReads' | 'keys' | 'metrics' | 'log'>,
  { customerId, pageSize, ...filters }: ListSignatures,
): Promise<{ signatures: Signature[]; next: string | undefined }> {
  const customerHmac = customerId === undefined ? undefined : lookUpHmac(ctx.keys.index, 'customer', customerId)
  const found = await readForOperator(ctx, (db) => list(db, { ...filters, customerHmac }, pageSize + 1)).catch(
    reportAltered(ctx),
  )
  const signatures = found.slice(0, pageSize)
  return { signatures, next: found.length > pageSize ? signatures.at(-1)?.id : undefined }
}
