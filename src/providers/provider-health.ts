import { CircuitState, CountBreaker, circuitBreaker, handleWhen, isBrokenCircuitError, noop } from 'cockatiel'
import type { FailureClass } from '../domain/delivery.ts'
import type { Logger } from '../telemetry/logger.ts'
import type { Metrics } from '../telemetry/metrics.ts'
import { ProviderError, type SignatureProvider } from './provider.ts'

/** How a circuit breaker stands; OFF when there is none. */
export type BreakerState = 'OFF' | 'CLOSED' | 'OPEN' | 'HALF_OPEN'

/** What this process sees of a provider: its calls, and whether more of them make sense. */
export interface ProviderHealth {
  readonly breaker: BreakerState
  /** Milliseconds for which a caller who has `timeLeftMs` left should make no call; 0 if it may make one now. */
  breakMs(timeLeftMs: number): number
  /**
   * Makes a call and counts how it ended. A refusal of the message or its recipient doesn't count against the provider, nor
   * does a failure for which `isExcused` returns true, such as that of a caller who did not wait. The call that tries an open
   * breaker gets `isTrial` and always counts. Throws what the call throws.
   */
  observe<T>(call: (isTrial: boolean) => Promise<T>, isExcused: () => boolean): Promise<T>
  /** The calls of the last {@link RECENT_MS}. */
  recent(): RecentCalls
}

export interface RecentCalls {
  windowMs: number
  calls: number
  errorRate: number
  medianMs: number
  p95Ms: number
}

const RECENT_MS = 5 * 60_000
/** Enough for figures that mean something, and little to keep. */
const MAX_RECENT = 2_000

/** A breaker looks at the last calls, and at no fewer than 10 of them. */
const WINDOW_CALLS = { size: 20, minimumNumberOfCalls: 10 }
/** It opens above this part of failures, which for up to 20 calls is half of them and more. */
const THRESHOLD = 0.49
const OPEN_MS = 30_000
/** For this long after that, only a caller who can wait for its timeout tries it; then any caller, or it might stay open for ever. */
const PATIENT_ONLY_MS = 30_000
/** The wait that other callers are told meanwhile: about what a call takes. */
const TRIAL_MS = 1_000

/** A refusal of one message or recipient is no verdict on the provider. */
const ABOUT_MESSAGE: readonly FailureClass[] = ['recipient', 'pair']

const STATES: Record<CircuitState, BreakerState> = {
  [CircuitState.Closed]: 'CLOSED',
  [CircuitState.Open]: 'OPEN',
  [CircuitState.HalfOpen]: 'HALF_OPEN',
  [CircuitState.Isolated]: 'OPEN',
}

/** Returns the health of a provider. Throws an Error if it isn't watched. */
export type HealthOf = (provider: string) => ProviderHealth

interface HealthTools {
  /** False leaves providers without circuit breakers. */
  breaker: boolean
  metrics: Metrics
  log: Logger
}

type Watched = Pick<SignatureProvider, 'name' | 'timeoutMs'>

/** Starts to watch these providers. */
export function watchHealth(providers: readonly Watched[], tools: HealthTools): HealthOf {
  const watched = new Map(providers.map((provider) => [provider.name, createHealth(provider, tools)]))
  return (provider) => {
    const health = watched.get(provider)
    if (!health) throw new Error(`${provider} is not watched`)
    return health
  }
}

function createHealth({ name: provider, timeoutMs }: Watched, { breaker, metrics, log }: HealthTools): ProviderHealth {
  const calls: { endedAt: number; ms: number; failed: boolean }[] = []
  let openUntil = 0

  const circuit = circuitBreaker(
    handleWhen((error) => error instanceof CountedFailure),
    { halfOpenAfter: OPEN_MS, breaker: new CountBreaker({ ...WINDOW_CALLS, threshold: THRESHOLD }) },
  )
  const state = () => (breaker ? STATES[circuit.state] : 'OFF')
  const show = () => metrics.showBreaker(provider, state())
  show()
  circuit.onStateChange(() => {
    openUntil = Date.now() + OPEN_MS
    show()
    log.warn({ provider, state: state() }, 'circuit breaker')
  })
  const policy = breaker ? circuit : noop

  return {
    get breaker() {
      return state()
    },
    breakMs(timeLeftMs) {
      const waitMs = openUntil - Date.now()
      switch (state()) {
        case 'OPEN':
          if (waitMs > 0) return waitMs
          return timeLeftMs >= timeoutMs || waitMs <= -PATIENT_ONLY_MS ? 0 : TRIAL_MS
        case 'HALF_OPEN':
          return TRIAL_MS
        default:
          return 0
      }
    },
    async observe(call, isExcused) {
      const startedAt = performance.now()
      const end = (failed: boolean) => {
        const endedAt = performance.now()
        calls.push({ endedAt, ms: endedAt - startedAt, failed })
        if (calls.length > MAX_RECENT) calls.shift()
      }
      try {
        return await policy.execute(async () => {
          const isTrial = breaker && circuit.state === CircuitState.HalfOpen
          try {
            const result = await call(isTrial)
            end(false)
            return result
          } catch (error) {
            const isAboutMessage = error instanceof ProviderError && ABOUT_MESSAGE.includes(error.failureClass)
            const counts = !isAboutMessage && (isTrial || !isExcused())
            end(counts)
            throw counts ? new CountedFailure(error) : error
          }
        })
      } catch (error) {
        if (error instanceof CountedFailure) throw error.cause
        throw isBrokenCircuitError(error) ? new ProviderError(provider, 'BREAKER_OPEN', 'ours') : error
      }
    },
    recent() {
      const since = performance.now() - RECENT_MS
      const recent = calls.filter(({ endedAt }) => endedAt >= since)
      const byTime = recent.map(({ ms }) => ms).toSorted((a, b) => a - b)
      const quantile = (part: number) => byTime[Math.ceil(byTime.length * part) - 1] ?? 0
      return {
        windowMs: RECENT_MS,
        calls: recent.length,
        errorRate: recent.length === 0 ? 0 : recent.filter(({ failed }) => failed).length / recent.length,
        medianMs: quantile(0.5),
        p95Ms: quantile(0.95),
      }
    },
  }
}

/** A failure that counts against the provider, on its way through the breaker. */
class CountedFailure extends Error {
  constructor(cause: unknown) {
    super('counted', { cause })
  }
}
