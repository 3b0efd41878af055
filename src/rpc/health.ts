import { EventEmitter, once } from 'node:events'
import { Code, ConnectError, type ServiceImpl } from '@connectrpc/connect'
import {
  type Health as HealthService,
  HealthCheckResponse_ServingStatus as Status,
} from '../../gen/health/v1/health_pb.ts'

export interface Health {
  /** Sets the answer of Check, List and Watch, for the whole server ('') and for each service. */
  set(serving: boolean): void
  /** The number of Watch calls that are waiting for a change. */
  readonly watchers: number
  service: ServiceImpl<typeof HealthService>
}

/**
 * Creates the gRPC health service for these services. It answers NOT_SERVING until the first {@link Health.set}.
 * https://github.com/grpc/grpc/blob/master/doc/health-checking.md
 */
export function createHealth(serviceNames: readonly string[]): Health {
  const known = new Set(['', ...serviceNames])
  // Each Watch call has a listener while it waits. Their number has no limit.
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
            // Rejects when the client leaves or the server stops: send a last change, then end without an error.
            await once(changes, 'change', { signal }).catch(() => {})
          }
        }
      },
    },
  }
}
