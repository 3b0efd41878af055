import { setTimeout as delay } from 'node:timers/promises'
import type { ReceiptRequest, SimulatedMessage } from './dialect.ts'
import type { Messages } from './messages.ts'
import { textOfTwiml } from './twilio/twiml.ts'

/** The calls that ask for a key. */
export interface Keys {
  /** From now on this call waits for a key; `request` is what one leads to. */
  ask(call: SimulatedMessage, request: (key: string) => ReceiptRequest): void
  /** Presses a key in the call of that sid. True once what it led to has been heard, false where no key is waited for. */
  press(sid: string, key: string): Promise<boolean>
  /** Resolves once what a key led to has been heard, or 30 s went by without one; at once for a call that asks for none. */
  over(call: SimulatedMessage, signal: AbortSignal): Promise<void>
}

/** Long enough to hear all that is said, without pressing a key. */
const PATIENCE_MS = 30_000
const ANSWER_TIMEOUT_MS = 5_000
/** Twilio says so where it gets no TwiML: https://www.twilio.com/docs/api/errors/11200 */
const APPLICATION_ERROR = 'We are sorry, an application error has occurred. Goodbye.'

export function createKeys({ list, change }: Pick<Messages, 'list' | 'change'>): Keys {
  const asking = new WeakMap<
    SimulatedMessage,
    PromiseWithResolvers<void> & { request: (key: string) => ReceiptRequest }
  >()
  return {
    ask(call, request) {
      asking.set(call, { request, ...Promise.withResolvers<void>() })
    },
    async press(sid, key) {
      const call = list.find((message) => message.sid === sid)
      const asked = call && asking.get(call)
      if (!asked || !call.awaits_key) return false
      change(call, { awaits_key: false })
      const heard = await answerTo(asked.request(key))
      change(call, { body: `${call.body}\n${heard}`.trim() })
      asked.resolve()
      return true
    },
    async over(call, signal) {
      await Promise.race([asking.get(call)?.promise, delay(PATIENCE_MS, undefined, { signal, ref: false })])
    },
  }
}

/** The text in the TwiML with which a call goes on. */
async function answerTo({ url, headers, body }: ReceiptRequest): Promise<string> {
  try {
    const signal = AbortSignal.timeout(ANSWER_TIMEOUT_MS)
    const response = await fetch(url, { method: 'POST', headers, body, redirect: 'manual', signal })
    const twiml = await response.text()
    return (response.ok ? textOfTwiml(twiml) : undefined) ?? APPLICATION_ERROR
  } catch {
    return APPLICATION_ERROR
  }
}
