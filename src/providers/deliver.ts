import { setTimeout as sleep } from 'node:timers/promises'
import pRetry from 'p-retry'
import type { Attempt, DeliveryOutcome, ProviderResult } from '../domain/delivery.ts'
import type { Logger } from '../telemetry/logger.ts'
import type { Metrics } from '../telemetry/metrics.ts'
import type { PassReasonNow } from './pass-reason.ts'
import { type ChallengeMessage, ProviderError, type SignatureProvider } from './provider.ts'
import type { HealthOf } from './provider-health.ts'

/** How often a delivery tries, and how long it waits in between. */
export interface DeliveryPolicy {
  /** Calls after the first. */
  retries: number
  /** Wait before the first retry; doubles with each. */
  backoffMs: number
}

interface DeliveryTools {
  policy: DeliveryPolicy
  health: HealthOf
  passReason: PassReasonNow
  metrics: Metrics
  log: Logger
  clock: () => Date
  /** Aborted when the process has drained. */
  ending: AbortSignal
}

/** How long a delivery may take. */
export interface DeliveryTime {
  /** For all calls and waits. */
  budgetMs: number
  /** For those of the providers behind this one, too. */
  totalMs: number
  /** How long the caller waits for all of them. */
  patienceMs: number
}

export type Deliver = (
  provider: SignatureProvider,
  message: Omit<ChallengeMessage, 'attempt'>,
  /** Records a call before it is made. Resolves to false if it must not be made. */
  beginAttempt: (number: number, startedAt: Date) => Promise<boolean>,
  time: DeliveryTime,
  signal: AbortSignal,
) => Promise<DeliveryOutcome>

/** With less time left, the outcome of a call would almost always be unknown. */
const LEAST_CALL_MS = 100

/**
 * Makes the function that delivers a message over one provider. It calls the provider, and retries while that may help and
 * the provider isn't passed over, within `time` and until `signal` is aborted. Only the call that tries an open breaker
 * runs to the provider's own timeout, as all callers share its verdict. It never throws: failures are in the outcome.
 */
export function createDeliver({ policy, health, passReason, metrics, log, clock, ending }: DeliveryTools): Deliver {
  return async (provider, message, beginAttempt, time, signal) => {
    const counted = metrics.provider(provider.name)
    const attempts: Attempt[] = []
    const budget = AbortSignal.any([signal, AbortSignal.timeout(Math.max(0, Math.floor(time.budgetMs)))])
    const begunMs = performance.now()
    const deadline = begunMs + time.budgetMs
    let stopped: string | undefined
    const fields = { provider: provider.name, challenge_id: message.challengeId }
    let result: ProviderResult | undefined

    /** Records a call. Returns why it must not be made now, or undefined if it may. */
    async function beginCall(number: number, startedAt: Date, leftMs: number): Promise<string | undefined> {
      const before = passReason(provider.name, leftMs)
      if (before) return before.reason
      const isBegun = await beginAttempt(number, startedAt).catch((error) => {
        log.error({ ...fields, attempt: number, error }, 'attempt not written, so the call is not made')
        return undefined
      })
      if (isBegun === undefined) return 'STORAGE_UNAVAILABLE'
      if (!isBegun) return 'NOT_PENDING'
      const since = deadline - performance.now() < LEAST_CALL_MS ? 'NO_TIME' : passReason(provider.name, leftMs)?.reason
      if (since) attempts.push({ number, outcome: 'not_made', providerErrorCode: since, startedAt, endedAt: clock() })
      return since
    }

    async function call(number: number): Promise<void> {
      const startedAt = clock()
      const spentMs = performance.now() - begunMs
      const leftMs = time.totalMs - spentMs
      const isPatient = time.patienceMs - spentMs >= provider.timeoutMs
      stopped = await beginCall(number, startedAt, leftMs)
      if (stopped) throw new ProviderError(provider.name, stopped, 'ours')
      const stopTimer = counted.latency.startTimer()
      const end = (status: 'success' | 'error', outcome: Attempt['outcome'], providerErrorCode: string | null) => {
        stopTimer({ status })
        attempts.push({ number, outcome, providerErrorCode, startedAt, endedAt: clock() })
      }
      try {
        const timeout = AbortSignal.timeout(provider.timeoutMs)
        const send = (isTrial: boolean) => {
          const isUncut = isTrial && leftMs >= provider.timeoutMs
          const cut = AbortSignal.any([timeout, isUncut ? ending : budget])
          return provider.sendChallenge({ ...message, attempt: number }, cut)
        }
        // The caller gave up, or has less time than the call may take, so the budget is short.
        const isExcused = () => !timeout.aborted && (signal.aborted || (budget.aborted && !isPatient))
        result = await health(provider.name).observe(send, isExcused)
        end('success', 'sent', null)
      } catch (thrown) {
        const error = asProviderError(provider.name, thrown)
        end('error', error.failureClass, error.providerErrorCode)
        counted.errors.inc({ error_code: error.label })
        log.error(
          {
            ...fields,
            attempt: number,
            provider_error_code: error.providerErrorCode,
            failure_class: error.failureClass,
            ...(error !== thrown && { error: thrown }),
          },
          'provider call failed',
        )
        throw error
      }
    }

    await pRetry(call, {
      retries: policy.retries,
      minTimeout: policy.backoffMs,
      factor: 2,
      signal: budget,
      async shouldRetry({ error, retryDelay }) {
        if (!(error instanceof ProviderError) || !isRetriable(error)) return false
        const { retryAfterMs = 0 } = error
        // No call could be made after a wait that outlasts the budget: give up now.
        if (performance.now() + Math.max(retryAfterMs, retryDelay) + LEAST_CALL_MS > deadline) return false
        await sleep(Math.max(0, retryAfterMs - retryDelay), undefined, { signal: budget })
        return true
      },
    }).catch(() => {
      // The outcome is in attempts and result; p-retry also rejects when its signal fires after a success.
    })

    const outcome = outcomeOf(result, attempts, stopped)
    counted.calls.inc({ status: outcome.outcome === 'sent' ? 'success' : 'failed_all_retries' })
    metrics.deliveries.inc({ provider: provider.name, channel: provider.channel, outcome: outcome.outcome })
    if (outcome.outcome === 'sent') {
      log.info(
        { ...fields, provider_challenge_id: outcome.providerChallengeId, attempts: attempts.length },
        'challenge sent',
      )
    } else {
      log.warn({ ...fields, attempts: attempts.length, outcome: outcome.outcome }, 'delivery gave up')
    }
    return outcome
  }
}

function isRetriable({ failureClass }: ProviderError): boolean {
  return failureClass === 'transient' || failureClass === 'unknown'
}

/** An adapter that throws anything else has a bug, and may have sent the message before it threw. */
function asProviderError(provider: string, thrown: unknown): ProviderError {
  return thrown instanceof ProviderError ? thrown : new ProviderError(provider, 'ADAPTER_FAULT', 'unproven')
}

function outcomeOf(
  result: ProviderResult | undefined,
  attempts: Attempt[],
  stopped: string | undefined,
): DeliveryOutcome {
  if (result) return { outcome: 'sent', ...result, attempts }
  const taken = attempts.some(({ outcome }) => outcome === 'unproven')
  if (taken || attempts.some(({ outcome }) => outcome === 'unknown')) return { outcome: 'unknown', taken, attempts }
  const last = attempts.findLast(({ outcome }) => outcome !== 'not_made')
  return {
    outcome: 'failed',
    reason: last?.outcome === 'recipient' ? 'DESTINATION_UNREACHABLE' : 'PROVIDER_UNAVAILABLE',
    providerErrorCode: last?.providerErrorCode ?? stopped ?? null,
    attempts,
  }
}
