import type { Context } from '../context.ts'
import { listSignatures as list } from '../db/signatures.ts'
import { lookUpHmac } from '../domain/sealed.ts'
import type { Signature, SignatureStatus } from '../domain/signature.ts'
import { reportAltered } from './altered.ts'

export interface ListSignatures {
  caller: string
  /** Undefined for any, as the others. */
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

/** Lists signatures, latest first, and the id after which the next page begins. */
export async function listSignatures(
  ctx: Pick<Context, 'db' | 'keys' | 'metrics' | 'log'>,
  { customerId, pageSize, ...filters }: ListSignatures,
): Promise<{ signatures: Signature[]; next: string | undefined }> {
  const customerHmac = customerId === undefined ? undefined : lookUpHmac(ctx.keys.index, 'customer', customerId)
  const found = await list(ctx.db, { ...filters, customerHmac }, pageSize + 1).catch(reportAltered(ctx))
  const signatures = found.slice(0, pageSize)
  return { signatures, next: found.length > pageSize ? signatures.at(-1)?.id : undefined }
}
