import { setTimeout as sleep } from 'node:timers/promises'
import type { Context } from '../context.ts'
import { type DueFallback, takeDueFallbacks } from '../db/fallbacks.ts'
import { fallBack } from '../usecases/fall-back.ts'

const LOOK_EVERY_MS = 2_000
/** Together they read from the database what their messages are made of, which must leave connections to callers. */
const AT_ONCE = 20

/**
 * Makes the fallbacks that are due and that no process is making: the one that took the receipt has died, or no provider
 * could be used then. Every replica looks; each fallback is taken by one. Ends when `ctx.ending` is aborted; disposing
 * waits until what was under way is recorded or left to others.
 */
export function openFallbacks(ctx: Context): AsyncDisposable {
  const underWay = new Set<Promise<void>>()

  async function make(due: DueFallback): Promise<void> {
    await fallBack(ctx, due).catch((error) =>
      ctx.log.error({ error, challenge_id: due.challengeId }, 'fallback failed, it stays due'),
    )
  }

  async function look(): Promise<void> {
    for (const due of await takeDueFallbacks(ctx.db, AT_ONCE - underWay.size)) {
      const made = make(due).finally(() => underWay.delete(made))
      underWay.add(made)
    }
  }

  async function lookOn(): Promise<void> {
    while (!ctx.ending.aborted) {
      if (underWay.size < AT_ONCE) await look().catch((error) => ctx.log.warn({ error }, 'due fallbacks not read'))
      // Replicas that were started together shall not go on looking together.
      const pauseMs = LOOK_EVERY_MS * (0.75 + Math.random() / 2)
      await sleep(pauseMs, undefined, { signal: ctx.ending, ref: false }).catch(() => {})
    }
  }

  const looking = lookOn()
  return {
    async [Symbol.asyncDispose]() {
      await looking
      await Promise.all(underWay)
    },
  }
}
