import type { Context } from '../context.ts'
import type { Db } from '../db/database.ts'
import { isStatementTimeout } from '../db/storage-errors.ts'
import { overloaded } from '../errors.ts'

/**
 * Reads over the operators' own few connections. Throws OVERLOADED if too many reads wait for them, or this one takes longer
 * than a statement may there.
 */
export async function readForOperator<T>(
  { operatorReads }: Pick<Context, 'operatorReads'>,
  read: (db: Db) => Promise<T>,
): Promise<T> {
  if (operatorReads.isBusy()) throw overloaded('too many lists at once')
  try {
    return await read(operatorReads.db)
  } catch (error) {
    if (isStatementTimeout(error)) throw overloaded('the list took too long: narrow its filters, or try again', error)
    throw error
  }
}
