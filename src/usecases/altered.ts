import type { Context } from '../context.ts'
import { AlteredSignature } from '../db/stored-transaction.ts'

/** Returns a handler for the `catch` of a read of signatures: it reports an altered one, and rethrows every error. */
export function reportAltered({ log, metrics }: Pick<Context, 'log' | 'metrics'>): (error: unknown) => never {
  return (error) => {
    if (error instanceof AlteredSignature) {
      metrics.signaturesAltered.inc()
      log.error({ signature_id: error.signatureId }, 'signature altered: its transaction does not match its digest')
    }
    throw error
  }
}
