import { setTimeout as delay } from 'node:timers/promises'
import type { ReceiptAnswer, ReceiptEvent, ReceiptPlan, ReceiptRequest, SimulatedMessage } from './dialect.ts'
import { isObject } from './http.ts'
import { createNext } from './next.ts'
import type { Keys } from './pressed-keys.ts'

/** One receipt of those that a fault scripts; they are sent in the order of the list, each once the one before has ended. */
export interface ScriptedReceipt extends ReceiptEvent {
  /** The wait before it; 20 by default. */
  delayMs?: number
  /** Ends before the call is answered, and so do those before it in the list. */
  beforeAnswer?: boolean
}

/** A receipt that was sent; one that is sent again is there twice. */
export interface SimulatedReceipt extends ReceiptRequest {
  provider: string
  /** Of the message. */
  sid: string
  /** The status that it reported. */
  status: string
  /** The HTTP status that it got; undefined if none came within 5 s, or nothing listens there. */
  answer: number | undefined
}

export interface Receipts {
  readonly sent: SimulatedReceipt[]
  /** The next receipt from now on that has been answered or given up. */
  next(): Promise<SimulatedReceipt>
  /**
   * Sends what precedes the call's answer, and resolves to what is to be done once the call has been answered: it sends
   * the rest.
   */
  follow(message: SimulatedMessage, plan: ReceiptPlan, script?: ScriptedReceipt[]): Promise<() => void>
  /** Forgets those that were sent and cancels the others. */
  clear(): void
  /** Cancels those that wait; nothing is sent any more. */
  stop(): void
}

const MAX_KEPT = 1_000
const DELAY_MS = 20
const ANSWER_TIMEOUT_MS = 5_000
/** Vonage waits about 5 s, Twilio less. */
const RETRY_DELAY_MS = 50

/**
 * Makes the sender of receipts, which also moves each message's status. It calls `move` for every event, also without a
 * receipt. `keys` resolves when a call that asks for a key is over.
 */
export function createReceipts(
  usual: 'delivered' | 'none',
  move: (message: SimulatedMessage, status: string, plan: ReceiptPlan) => void,
  keys: Pick<Keys, 'over'>,
): Receipts {
  const sent: SimulatedReceipt[] = []
  const next = createNext<SimulatedReceipt>()
  let waiting = new AbortController()

  async function follow(message: SimulatedMessage, plan: ReceiptPlan, script?: ScriptedReceipt[]) {
    const { signal } = waiting
    const steps: (ScriptedReceipt & ReceiptPlan['course'][number])[] = script ?? (usual === 'none' ? [] : plan.course)
    const early = steps.findLastIndex(({ beforeAnswer }) => beforeAnswer) + 1
    await run(steps.slice(0, early))
    return () => void run(steps.slice(early))

    async function run(these: typeof steps): Promise<void> {
      try {
        for (const step of these) await tell(step)
      } catch (error) {
        if (!signal.aborted) throw error
      }
    }

    async function tell({ delayMs = DELAY_MS, silent, afterKey, ...event }: (typeof steps)[number]): Promise<void> {
      if (afterKey) await keys.over(message, signal)
      await delay(delayMs, undefined, { signal })
      move(message, event.status, plan)
      const request = silent ? undefined : await plan.request(event)
      if (!request) return
      for (let count = 1; plan.isRetried(await attempt(request, event.status), count); count++) {
        await delay(RETRY_DELAY_MS, undefined, { signal })
      }
    }

    async function attempt(request: ReceiptRequest, status: string): Promise<ReceiptAnswer> {
      const answer = await post(request, signal)
      signal.throwIfAborted()
      const httpStatus = typeof answer === 'number' ? answer : undefined
      const receipt = { provider: message.provider, sid: message.sid, status, answer: httpStatus, ...request }
      sent.push(receipt)
      if (sent.length > MAX_KEPT) sent.shift()
      next.resolve(receipt)
      return answer
    }
  }

  return {
    sent,
    next: next.wait,
    follow,
    clear() {
      waiting.abort()
      waiting = new AbortController()
      sent.length = 0
    },
    stop() {
      waiting.abort()
      next.stop()
    },
  }
}

async function post({ url, headers, body }: ReceiptRequest, cancel: AbortSignal): Promise<ReceiptAnswer> {
  const signal = AbortSignal.any([cancel, AbortSignal.timeout(ANSWER_TIMEOUT_MS)])
  try {
    const response = await fetch(url, { method: 'POST', headers, body, redirect: 'manual', signal })
    await response.body?.cancel()
    return response.status
  } catch (error) {
    const isRefused = error instanceof Error && isObject(error.cause) && error.cause.code === 'ECONNREFUSED'
    return isRefused ? 'nobody listens' : 'no answer in time'
  }
}
