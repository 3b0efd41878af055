import { v7 as uuidv7 } from 'uuid'
import type { Context } from '../context.ts'
import { beginAttempt, leaveDelivery, recordDelivery } from '../db/deliveries.ts'
import type { NewChallenge } from '../db/new-challenges.ts'
import { persist } from '../db/transact.ts'
import type { Candidate, PassedOver, PassReason } from '../domain/challenge.ts'
import type { DeliveryOutcome } from '../domain/delivery.ts'
import { choiceOf } from '../domain/fallback.ts'
import { generateCode, sealCode } from '../domain/one-time-code.ts'
import { type Sealed, seal } from '../domain/sealed.ts'
import type { Transaction } from '../domain/transaction.ts'
import { AppError } from '../errors.ts'
import type { Delivering } from '../providers/in-flight.ts'
import { nextUsable, type Plan } from './plan-route.ts'

type Ctx = Pick<Context, 'db' | 'keys' | 'providers' | 'passReason' | 'deliver' | 'challenges' | 'metrics'>

/** A stored signature, with everything that its messages are made of. */
export interface Recipient {
  signatureId: string
  phone: string
  pushToken: string | undefined
  transaction: Transaction
  transactionDigest: Buffer
  locale: string
  /** By the database's clock. */
  expiresAt: Date
  /** Milliseconds until then. */
  leftMs(): number
}

/** A challenge with its code in clear, which only the message may hold. */
export interface CodedChallenge {
  challenge: NewChallenge
  code: string
}

/** A provider with another one behind it gets this part of the time left, so that some is left for the other. */
const SHARE = 1 / 2
/** With less than this part of the time left, another challenge would only cancel a code that may have arrived. */
const LEAST = 1 / 10

/** Slightly longer than the deadline, so that the caller's signal ends the delivery, not our budget. */
const DEADLINE_MARGIN_MS = 100

/** With less time left no message could be sent and no answer returned. */
const FLOOR_MS = 200

/** No record of a sent message is lost in an outage of the database up to this long. */
const RECORD_FOR_MS = 30_000

/** Returns how long a delivery may take for a caller that waits `timeLeftMs`. Throws DEADLINE_TOO_SHORT if that is too little. */
export function budgetWithin({ challenges }: Pick<Context, 'challenges'>, timeLeftMs: number): number {
  if (timeLeftMs < FLOOR_MS) {
    throw new AppError('DEADLINE_TOO_SHORT', `less than ${FLOOR_MS} ms are left: nothing was started`)
  }
  return Math.min(challenges.budgetMs, timeLeftMs + DEADLINE_MARGIN_MS)
}

/** Makes a challenge for a candidate, with a new code. */
export function newChallenge(
  ctx: Pick<Context, 'keys' | 'challenges'>,
  plan: Plan,
  candidate: Candidate,
  passedOver: PassedOver[],
  transactionDigest: Buffer,
): CodedChallenge {
  const id = uuidv7()
  const code = generateCode()
  const { provider, channel } = candidate
  const { route, routingTableVersion, isUnattended } = plan
  const choice = choiceOf(route, candidate, passedOver)
  const { maxTries, leaseMs } = ctx.challenges
  const sealed = sealCode(ctx.keys.code, code, { challengeId: id, transactionDigest })
  return {
    code,
    challenge: {
      id,
      channel,
      provider,
      route,
      routingTableVersion,
      choice,
      passedOver,
      code: sealed,
      maxTries,
      leaseMs,
      isUnattended,
    },
  }
}

/**
 * Delivers a stored challenge. If its provider fails, goes on to the next one of the plan, each with a challenge of its own,
 * until one is sent, none is left, or time is up: the budget's or the caller's. Records the outcome in the database.
 */
export async function deliverCode(
  ctx: Ctx,
  plan: Plan,
  recipient: Recipient,
  first: CodedChallenge,
  delivering: Delivering,
  timeLeftMs: number,
  signal: AbortSignal,
): Promise<void> {
  const budgetMs = budgetWithin(ctx, timeLeftMs)
  const begunMs = performance.now()
  const leftMs = () => budgetMs - (performance.now() - begunMs)
  const after = (challenge: NewChallenge, reason: PassReason) => {
    const { provider, channel, passedOver } = challenge
    const passed = [...passedOver, { provider, channel, reason }]
    return nextUsable(ctx, plan, passed, recipient.pushToken !== undefined, leftMs())
  }

  /** Delivers one challenge and records its outcome. Returns the challenge that took its place. */
  async function deliverOne({ challenge, code }: CodedChallenge): Promise<CodedChallenge | undefined> {
    const { id, provider } = challenge
    const sender = ctx.providers.get(provider)
    if (!sender) throw new Error(`${provider} was planned but is not configured`)
    const hasNext = after(challenge, 'PROVIDER_UNAVAILABLE').candidate !== undefined
    const message = { ...recipient, challengeId: id, code }
    const begin = (number: number, startedAt: Date) =>
      persist(Math.max(0, leftMs()), () => beginAttempt(ctx.db, id, number, startedAt))
    const totalMs = leftMs()
    const time = {
      budgetMs: hasNext ? totalMs * SHARE : totalMs,
      totalMs,
      patienceMs: timeLeftMs - (budgetMs - totalMs),
    }
    const delivery = await ctx.deliver(sender, message, begin, time, signal)

    const reason = reasonToGoOn(delivery)
    const onward = reason && after(challenge, reason)
    const isInTime = !signal.aborted && leftMs() >= budgetMs * LEAST
    const next =
      onward?.candidate && isInTime
        ? newChallenge(ctx, plan, onward.candidate, onward.passedOver, recipient.transactionDigest)
        : undefined
    if (next) delivering.moveTo(next.challenge.provider)
    else if (plan.isUnattended && isCutShort(delivery, signal)) {
      const { signatureId } = recipient
      await persist(RECORD_FOR_MS, () => leaveDelivery(ctx.db, { id, signatureId }, delivery.attempts))
      return undefined
    }

    // Without the caller's signal: what was sent is recorded even if no caller waits for the answer.
    const delivered = {
      id,
      signatureId: recipient.signatureId,
      provider,
      expectsReceipt: sender.reportsDelivery,
      exchange: sealedExchange(ctx, id, delivery),
    }
    const passedOver = onward?.passedOver.slice(challenge.passedOver.length + 1) ?? []
    const recorded = await persist(RECORD_FOR_MS, () =>
      recordDelivery(ctx.db, delivered, delivery, { next: next?.challenge, passedOver }),
    )
    if (recorded === 'failed') ctx.metrics.signatures.inc({ status: 'FAILED' })
    if (recorded !== 'replaced' || !next || !reason) return undefined
    ctx.metrics.fallbacks.inc({ from: provider, to: next.challenge.provider, reason })
    return next
  }

  for (let current: CodedChallenge | undefined = first; current; current = await deliverOne(current));
}

/** Returns the answer of the provider that took the message, sealed for the attempt's row. */
function sealedExchange({ keys }: Ctx, challengeId: string, delivery: DeliveryOutcome): Sealed | undefined {
  if (delivery.outcome !== 'sent') return undefined
  const number = delivery.attempts.findLast(({ outcome }) => outcome === 'sent')?.number
  return seal(keys.pii, JSON.stringify({ response: delivery.answer }), `${challengeId}/${number}/exchange`)
}

/** True of a delivery that certainly sent nothing, as it lacked the time or was kept from calling. */
function isCutShort({ outcome, attempts }: DeliveryOutcome, signal: AbortSignal): boolean {
  return outcome === 'failed' && (signal.aborted || attempts.every((attempt) => attempt.outcome === 'not_made'))
}

/** Returns why a delivery makes way for another provider; undefined if it doesn't. */
function reasonToGoOn(delivery: DeliveryOutcome): PassReason | undefined {
  switch (delivery.outcome) {
    case 'sent':
      return undefined
    case 'unknown':
      // A provider that said yes has the message: another one would only be a second.
      if (delivery.taken) return undefined
      return delivery.attempts.at(-1)?.outcome === 'recipient' ? 'DESTINATION_UNREACHABLE' : 'OUTCOME_UNKNOWN'
    case 'failed': {
      const { reason, providerErrorCode, attempts } = delivery
      // It was passed over after it was chosen and before it was called.
      const isPassedOver = providerErrorCode === 'PAUSED' || providerErrorCode === 'BREAKER_OPEN'
      const wasCalled = attempts.some(({ outcome }) => outcome !== 'not_made')
      return isPassedOver && !wasCalled ? providerErrorCode : reason
    }
  }
}
