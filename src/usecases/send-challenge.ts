import type { Context } from '../context.ts'
import type { NewChallenge } from '../db/new-challenges.ts'
import type { PassedOver } from '../domain/challenge.ts'
import { budgetWithin, deliverCode, newChallenge, type Recipient } from './deliver-code.ts'
import { nextUsable, type Plan } from './plan-route.ts'

/** Until when a stored challenge's code can be used. */
type Validity = Pick<Recipient, 'expiresAt' | 'leftMs'>

/** How the sending of a challenge ended. What its delivery led to is in the database. */
export type Sending =
  | { outcome: 'stored' | 'not_stored' }
  /** Every provider of the plan was passed over: those named here and those passed over before. */
  | { outcome: 'no_provider'; passedOver: PassedOver[] }

/**
 * Makes a challenge for the next usable provider of a plan, has it stored and delivers its code. `store` gets the
 * challenge and the providers passed over for it, commits them, and returns undefined where the challenge must not be
 * delivered. `timeLeftMs` is how long the caller waits.
 */
export async function sendChallenge(
  ctx: Context,
  plan: Plan,
  addressee: Omit<Recipient, keyof Validity>,
  store: (challenge: NewChallenge, passedOver: PassedOver[]) => Promise<Validity | undefined>,
  timeLeftMs: number,
  signal: AbortSignal,
): Promise<Sending> {
  const { pushToken, transactionDigest } = addressee
  const budgetMs = budgetWithin(ctx, timeLeftMs)
  const { candidate, passedOver } = nextUsable(ctx, plan, plan.passedOver, pushToken !== undefined, budgetMs)
  const passedOverNow = passedOver.slice(plan.passedOver.length)
  if (!candidate) return { outcome: 'no_provider', passedOver: passedOverNow }
  using delivering = ctx.inFlight.enter(candidate.provider)

  const first = newChallenge(ctx, plan, candidate, passedOver, transactionDigest)
  // Committed before anything is sent: a code the customer can read must already be verifiable.
  const validity = await store(first.challenge, passedOverNow)
  if (!validity) return { outcome: 'not_stored' }
  const { expiresAt, leftMs } = validity
  await deliverCode(ctx, plan, { ...addressee, expiresAt, leftMs }, first, delivering, timeLeftMs, signal)
  return { outcome: 'stored' }
}
