import pRetry from 'p-retry'
import type { Db, Trx } from './database.ts'
import { isBrokenConnection, isConflict, isStorageUnavailable } from './storage-errors.ts'

/** How long one transaction is retried for. */
const TRY_FOR_MS = 5_000
const WAITS = { minTimeout: 20, maxTimeout: 500, factor: 2, randomize: true, retries: 100 }

/**
 * Runs a transaction. Runs it again if it lost against another one (a deadlock, a serialization failure), if its connection
 * broke, as one from before a restart does, and if its COMMIT had no answer, as after a failover: it may have been carried
 * out or not. So `work` must see what an earlier run of it has written, and then return the same without writing it twice.
 */
export async function transact<T>(db: Db, work: (trx: Trx) => Promise<T>): Promise<T> {
  let mayBeCommitted = false
  return pRetry(
    async () => {
      let isDone = false
      try {
        return await db.transaction().execute(async (trx) => {
          const result = await work(trx)
          isDone = true
          return result
        })
      } catch (error) {
        mayBeCommitted ||= isDone
        throw error
      }
    },
    {
      ...WAITS,
      maxRetryTime: TRY_FOR_MS,
      shouldRetry: ({ error }) =>
        isConflict(error) || isBrokenConnection(error) || (mayBeCommitted && isStorageUnavailable(error)),
    },
  )
}

/**
 * Retries `work` for up to `forMs` while the database is unavailable. For what must not be forgotten: a message that was
 * sent, a code that was compared. `work` must be idempotent, like that of {@link transact}.
 */
export async function persist<T>(forMs: number, work: () => Promise<T>): Promise<T> {
  return pRetry(work, {
    ...WAITS,
    maxRetryTime: forMs,
    shouldRetry: ({ error }) => isStorageUnavailable(error),
  })
}
