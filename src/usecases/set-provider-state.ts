import type { Context } from '../context.ts'
import { insertProviderSwitch, type ProviderSwitch } from '../db/provider-switches.ts'
import { invalidFields } from '../errors.ts'

export interface SetProviderState {
  provider: string
  /** Undefined enables it. */
  pauseUntil: Date | undefined
  author: string
  reason: string
}

/** Pauses or enables a provider; this replica obeys when the call ends. Throws INVALID_FIELD for a pause that is over. */
export async function setProviderState(
  ctx: Pick<Context, 'db' | 'routing'>,
  { provider, pauseUntil, author, reason }: SetProviderState,
): Promise<ProviderSwitch> {
  const said = await insertProviderSwitch(ctx.db, { provider, pausedUntil: pauseUntil ?? null, author, reason })
  if (!said) throw invalidFields([{ field: 'pause_until', description: 'must be in the future' }])
  await ctx.routing.refresh()
  return said
}
