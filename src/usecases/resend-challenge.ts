import type { Context } from '../context.ts'
import { fingerprintOf } from '../db/idempotency-keys.ts'
import type { SignatureWithChallenge } from '../db/latest-challenge.ts'
import { resendChallenge as resend } from '../db/resends.ts'
import type { Channel } from '../domain/challenge.ts'
import { AppError } from '../errors.ts'
import { currentWithChallenge } from './current.ts'
import { budgetWithin } from './deliver-code.ts'
import { noUsableProvider, planRoute } from './plan-route.ts'
import { openRecipient } from './recipient.ts'
import { sendChallenge } from './send-challenge.ts'
import { repeatedAnswer, sendingAnswer } from './sending-answer.ts'
import { endOf } from './signature-end.ts'

export interface ResendChallenge {
  caller: string
  signatureId: string
  idempotencyKey: string
  /** Undefined takes the channel that the signature was started with. */
  channel: Channel | undefined
}

const RULES = { afterMs: 30_000, limit: 3 }

/**
 * Sends a new code in the place of the one before. The same key and request send no second one. `timeLeftMs` is how long
 * the caller waits. Throws the reasons that the proto names at ResendChallenge.
 */
export async function resendChallenge(
  ctx: Context,
  input: ResendChallenge,
  timeLeftMs: number,
  signal: AbortSignal,
): Promise<SignatureWithChallenge> {
  const { caller, signatureId, channel } = input
  const budgetMs = budgetWithin(ctx, timeLeftMs)
  const claim = { ...input, fingerprint: fingerprint(input) }
  const current = await currentWithChallenge(ctx, caller, signatureId)
  const repeated = await repeatedAnswer(ctx, claim)
  if (repeated) return repeated
  const ended = endOf(current)
  if (ended) throw ended

  const { recipient, query } = await openRecipient(ctx, current.signature)
  const plan = planRoute(ctx, { ...query, channel: channel ?? query.channel })
  if (!plan) throw new AppError('NO_ROUTE', 'no row of the routing table matches')
  const sending = await sendChallenge(
    ctx,
    plan,
    recipient,
    async (challenge, passedOver) => {
      const resent = await resend(ctx.db, claim, { ...challenge, choice: 'RESENT' }, passedOver, RULES)
      switch (resent.outcome) {
        case 'resent':
          return recipient
        case 'repeated':
          return undefined
        case 'closed':
          throw endOf(await currentWithChallenge(ctx, caller, signatureId)) ?? new Error('still open')
        case 'no tries':
          throw new AppError('TRIES_EXHAUSTED', 'no tries are left', { metadata: { signature_id: signatureId } })
        case 'limit':
          throw new AppError('RESEND_LIMIT', `codes were sent again ${RULES.limit} times for this signature`)
        case 'too soon':
          throw new AppError('RESEND_TOO_SOON', 'the last code was sent a moment ago', { retryAfterMs: resent.waitMs })
      }
    },
    timeLeftMs,
    signal,
  )
  if (sending.outcome === 'no_provider') throw noUsableProvider(ctx, sending.passedOver, budgetMs)
  if (sending.outcome === 'stored') return sendingAnswer(ctx, caller, signatureId)
  const answer = await repeatedAnswer(ctx, claim)
  if (!answer) throw new Error('a claimed key has no claim')
  return answer
}

/** Every field of the request has to be named here, or this doesn't compile. */
function fingerprint({ signatureId, channel }: ResendChallenge): Buffer {
  const told: Record<keyof ResendChallenge, string[]> = {
    caller: [], // the key is this caller's
    signatureId: ['resend', signatureId],
    idempotencyKey: [], // the key that stands for the rest
    channel: [channel ?? ''],
  }
  return fingerprintOf(Object.values(told).flat())
}
