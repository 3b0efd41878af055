import type { Logger } from './logger.ts'
import type { Metrics } from './metrics.ts'

/** Reports what the sweeper finds, to operators. */
export function reportSweeps({ log, metrics }: { log: Logger; metrics: Metrics }) {
  return {
    onLost({ challengeId, provider }: { challengeId: string; provider: string }): void {
      metrics.deliveriesLost.inc({ provider })
      log.warn({ challenge_id: challengeId, provider }, 'lease expired, outcome unknown')
    },
    onExpired: (count: number) => metrics.signatures.inc({ status: 'EXPIRED' }, count),
    onRemoved(table: string, count: number): void {
      metrics.rowsRemoved.inc({ table }, count)
      log.info({ table, count }, 'old rows removed')
    },
    onReceiptMissing: ({ provider, routePriority }: { provider: string; routePriority: number }) =>
      metrics.receiptsMissing.inc({ provider, route: String(routePriority) }),
    onError: (error: unknown) => log.warn({ error }, 'sweep failed'),
  }
}
