import { EventEmitter, once } from 'node:events'
import { Code, ConnectError, type ServiceImpl } from '@connectrpc/connect'
import {
  type Health as HealthService,
  HealthCheckResponse_ServingStatus as Status,
} from '../../gen/health/v1/health_pb.ts'

export interface Health {
  /** What Check, List and Watch answer from now on, for the whole server ('') and for each service. */
  set(serving: boolean): void
  /** How many Watch calls are waiting for a change. */
  readonly watchers: number
  service: ServiceImpl<typeof HealthService>
}

/**
 * The gRPC health service for these services. It answers NOT_SERVING until told otherwise.
 * https://github.com/grpc/grpc/blob/master/doc/health-checking.md
 */
export function createHealth(serviceNames: readonly string[]): Health {
  const known = new Set(['', ...serviceNames])
  // Each Watch call listens while it waits, and any number of them may.
  const changes = new EventEmitter().setMaxListeners(0)
  let current: Status = Status.NOT_SERVING

  return {
    set(serving) {
      current = serving ? Status.SERVING : Status.NOT_SERVING
      changes.emit('change')
    },
    get watchers() {
      return changes.listenerCount('change')
    },
    service: {
      check({ service }) {
        if (!known.has(service)) throw new ConnectError('unknown service', Code.NotFound)
        return { status: current }
      },
      list() {
        return { statuses: Object.fromEntries([...known].map((name) => [name, { status: current }])) }
      },
      async *watch({ service }, { signal }) {
        let sent: Status | undefined
        while (true) {
          const status = known.has(service) ? current : Status.SERVICE_UNKNOWN
          if (status !== sent) {
            sent = status
            yield { status }
          } else if (signal.aborted) {
            return
          } else {
            // Rejects when the client leaves or the server stops: look once more for a last change, then end without an error.
            await once(changes, 'change', { signal }).catch(() => {})
          }
        }
      },
    },
  }
}
