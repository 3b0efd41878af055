import { spread, startLoop } from '../loop.ts'
import type { Db } from './database.ts'
import { takeMissingReceipts } from './receipts.ts'
import {
  BATCH,
  expireSignatures,
  type LostDelivery,
  removeOldKeys,
  removeOldSignatures,
  takeLostDeliveries,
} from './sweeps.ts'

export interface SweeperConfig {
  /** How long signatures are kept after their end; undefined keeps them for ever. */
  retentionMs: number | undefined
  onLost(delivery: LostDelivery): void
  onExpired(count: number): void
  onRemoved(table: 'idempotency_key' | 'signature', count: number): void
  onReceiptMissing(missing: { provider: string; routePriority: number }): void
  /** A sweep failed; it is tried again. */
  onError(error: unknown): void
}

const SWEEP_EVERY_MS = 2_000

/** Does every few seconds what no call would do, until it is disposed of. Every replica has a sweeper; no row is taken by two. */
export function openSweeper(db: Db, config: SweeperConfig): AsyncDisposable {
  const { retentionMs } = config

  /** Each takes one batch and returns the number of its rows. */
  const sweeps: (() => Promise<number>)[] = [
    async () => {
      const lost = await takeLostDeliveries(db)
      lost.forEach(config.onLost)
      return lost.length
    },
    async () => {
      const count = await expireSignatures(db)
      if (count > 0) config.onExpired(count)
      return count
    },
    async () => {
      const missing = await takeMissingReceipts(db, BATCH)
      missing.forEach(config.onReceiptMissing)
      return missing.length
    },
    async () => {
      const count = await removeOldKeys(db)
      if (count > 0) config.onRemoved('idempotency_key', count)
      return count
    },
    async () => {
      const count = retentionMs === undefined ? 0 : await removeOldSignatures(db, retentionMs)
      if (count > 0) config.onRemoved('signature', count)
      return count
    },
  ]

  /** Runs the sweeps in turn until none finds a full batch, so that the backlog of one keeps no other waiting. */
  async function takeTurns(stopping: AbortSignal): Promise<void> {
    const failed = new Set<unknown>()
    let isMore = true
    while (isMore) {
      isMore = false
      for (const sweep of sweeps) {
        if (stopping.aborted) return
        if (failed.has(sweep)) continue
        try {
          if ((await sweep()) === BATCH) isMore = true
        } catch (error) {
          // The others go on; this one is tried again after the pause.
          failed.add(sweep)
          config.onError(error)
        }
      }
    }
  }

  return startLoop(takeTurns, () => spread(SWEEP_EVERY_MS))
}
