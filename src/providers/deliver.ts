import { setTimeout as sleep } from 'node:timers/promises'
import pRetry from 'p-retry'
import type { Attempt, DeliveryOutcome, ProviderResult } from '../domain/delivery.ts'
import type { Logger } from '../telemetry/logger.ts'
import type { Metrics } from '../telemetry/metrics.ts'
import type { Obstacle } from './obstacle.ts'
import { type ChallengeMessage, ProviderError, type SignatureProvider } from './provider.ts'
import type { HealthOf } from './provider-health.ts'

/** How hard a delivery tries. */
export interface DeliveryPolicy {
  /** Calls after the first. */
  retries: number
  /** Wait before the first retry; doubles with each. */
  backoffMs: number
}

interface DeliveryTools {
  policy: DeliveryPolicy
  health: HealthOf
  obstacle: (provider: string) => Obstacle | undefined
  metrics: Metrics
  log: Logger
  clock: () => Date
}

export type Deliver = (
  provider: SignatureProvider,
  message: Omit<ChallengeMessage, 'attempt'>,
  /** Writes a call down before it is made. False when it must not be. */
  beginAttempt: (number: number, startedAt: Date) => Promise<boolean>,
  budgetMs: number,
  signal: AbortSignal,
) => Promise<DeliveryOutcome>

/** With less time left a call would end in nothing but doubt. */
const LEAST_CALL_MS = 100

/**
 * Makes the function that delivers a message over one provider: calls it, again while trying again helps and nothing
 * stands in its way, within a time for all calls and waits together, and within the caller's signal. It never throws;
 * what it could not do is in the outcome.
 */
export function createDeliver({ policy, health, obstacle, metrics, log, clock }: DeliveryTools): Deliver {
  return async (provider, message, beginAttempt, budgetMs, signal) => {
    const counted = metrics.provider(provider.name)
    const attempts: Attempt[] = []
    const budget = AbortSignal.any([signal, AbortSignal.timeout(Math.max(0, Math.floor(budgetMs)))])
    const deadline = performance.now() + budgetMs
    let stopped: string | undefined
    const fields = { provider: provider.name, challenge_id: message.challengeId }
    let result: ProviderResult | undefined

    /** What keeps a call from being made right now; nothing when it is written down. */
    async function whyNot(number: number, startedAt: Date): Promise<string | undefined> {
      const stands = obstacle(provider.name)
      if (stands) return stands.reason
      const isBegun = await beginAttempt(number, startedAt).catch((error) => {
        log.error({ ...fields, attempt: number, error }, 'attempt not written, so the call is not made')
        return undefined
      })
      if (isBegun === undefined) return 'STORAGE_UNAVAILABLE'
      if (!isBegun) return 'NOT_PENDING'
      const since = deadline - performance.now() < LEAST_CALL_MS ? 'NO_TIME' : obstacle(provider.name)?.reason
      if (since) attempts.push({ number, outcome: 'not_made', providerErrorCode: since, startedAt, endedAt: clock() })
      return since
    }

    async function call(number: number): Promise<void> {
      const startedAt = clock()
      stopped = await whyNot(number, startedAt)
      if (stopped) throw new ProviderError(provider.name, stopped, 'ours')
      const stopTimer = counted.latency.startTimer()
      const end = (status: 'success' | 'error', outcome: Attempt['outcome'], providerErrorCode: string | null) => {
        stopTimer({ status })
        attempts.push({ number, outcome, providerErrorCode, startedAt, endedAt: clock() })
      }
      try {
        const timeout = AbortSignal.timeout(provider.timeoutMs)
        const send = () => provider.sendChallenge({ ...message, attempt: number }, AbortSignal.any([budget, timeout]))
        const isCutShort = () => budget.aborted && !timeout.aborted
        result = await health(provider.name).observe(send, isCutShort)
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
        // A wait that outlasts the budget can only end in nothing: better to say so now.
        if (performance.now() + Math.max(retryAfterMs, retryDelay) + LEAST_CALL_MS > deadline) return false
        await sleep(Math.max(0, retryAfterMs - retryDelay), undefined, { signal: budget })
        return true
      },
    }).catch(() => {
      // What happened is in attempts and result; p-retry also rejects when its signal fires after a success.
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

/** An adapter that throws anything else has a bug, and whether it sent the message before that can't be known. */
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
