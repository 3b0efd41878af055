import type { Context } from '../context.ts'
import { AlteredSignature } from '../db/stored-transaction.ts'

/** For the `catch` of a read of stored signatures: reports an altered one, and throws what it was given. */
export function reportAltered({ log, metrics }: Pick<Context, 'log' | 'metrics'>): (error: unknown) => never {
  return (error) => {
    if (error instanceof AlteredSignature) {
      metrics.signaturesAltered.inc()
      log.error({ signature_id: error.signatureId }, 'signature altered: its transaction does not match its digest')
    }
    throw error
  }
}
