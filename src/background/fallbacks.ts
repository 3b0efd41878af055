import type { Context } from '../context.ts'
import { type DueFallback, takeDueFallbacks } from '../db/fallbacks.ts'
import { spread, startLoop } from '../loop.ts'
import { fallBack } from '../usecases/fall-back.ts'

const LOOK_EVERY_MS = 2_000
/** Each reads its recipient from the database first; callers must be left enough connections. */
const AT_ONCE = 20

/**
 * Makes the fallbacks that are due and that no process is making: the one that took the receipt has died, or no provider
 * could be used then. Every replica looks; each fallback is taken by one. Abort `ctx.ending` before disposing, which waits
 * until every fallback under way is recorded or left to another replica.
 */
export function openFallbacks(ctx: Context): AsyncDisposable {
  const underWay = new Set<Promise<void>>()

  async function make(due: DueFallback): Promise<void> {
    await fallBack(ctx, due).catch((error) =>
      ctx.log.error({ error, challenge_id: due.challengeId }, 'fallback failed, it stays due'),
    )
  }

  async function look(): Promise<void> {
    if (underWay.size === AT_ONCE) return
    for (const due of await takeDueFallbacks(ctx.db, AT_ONCE - underWay.size)) {
      const made = make(due).finally(() => underWay.delete(made))
      underWay.add(made)
    }
  }

  const looking = startLoop(
    () => look().catch((error) => ctx.log.warn({ error }, 'due fallbacks not read')),
    () => spread(LOOK_EVERY_MS),
  )
  return {
    async [Symbol.asyncDispose]() {
      await looking[Symbol.asyncDispose]()
      await Promise.all(underWay)
    },
  }
}
