import { v7 as uuidv7 } from 'uuid'
import type { Context } from '../context.ts'
import { fingerprintOf } from '../db/idempotency-keys.ts'
import type { SignatureWithChallenge } from '../db/latest-challenge.ts'
import { insertSignature, type NewSignature } from '../db/new-signatures.ts'
import type { Channel } from '../domain/challenge.ts'
import { lookUpHmac } from '../domain/look-up-hmac.ts'
import { maskPhone } from '../domain/phone.ts'
import { seal } from '../domain/sealed.ts'
import type { Transaction } from '../domain/transaction.ts'
import { AppError } from '../errors.ts'
import { budgetWithin } from './deliver-code.ts'
import { noUsableProvider, planRoute, type RouteQuery, routeQuery } from './plan-route.ts'
import { pushTokenPlace } from './recipient.ts'
import { sendChallenge } from './send-challenge.ts'
import { repeatedAnswer, sendingAnswer } from './sending-answer.ts'

export interface StartSignature {
  caller: string
  idempotencyKey: string
  customerId: string
  /** E.164. */
  phone: string
  transaction: Transaction
  /** Undefined lets the routing table decide. */
  channel: Channel | undefined
  /** BCP 47. */
  locale: string
  pushToken: string | undefined
  /** Empty when the caller names none. */
  customerSegment: string
}

/**
 * Starts a signature and delivers its code. The same key and request give the same signature and no second message.
 * `timeLeftMs` is how long the caller waits. Throws the reasons that the proto names at StartSignature.
 */
export async function startSignature(
  ctx: Context,
  input: StartSignature,
  timeLeftMs: number,
  signal: AbortSignal,
): Promise<SignatureWithChallenge> {
  const { caller, phone, pushToken, transaction, locale } = input
  const budgetMs = budgetWithin(ctx, timeLeftMs)
  const query = routeQuery(ctx, input)
  const { transactionDigest } = query
  const signature = newSignature(ctx, input, query)
  // Before any refusal: the table may have changed since the first call with this key, and providers may be paused by now.
  const answerOr = async (refusal: Error) => {
    const answer = await repeatedAnswer(ctx, signature)
    if (!answer) throw refusal
    return answer
  }
  const plan = planRoute(ctx, query)
  if (!plan) return answerOr(new AppError('NO_ROUTE', 'no row of the routing table matches'))

  const { id: signatureId } = signature
  const sending = await sendChallenge(
    ctx,
    plan,
    { signatureId, phone, pushToken, transaction, transactionDigest, locale },
    async (challenge) => {
      const inserted = await insertSignature(ctx.db, signature, challenge)
      if (inserted) ctx.metrics.signatures.inc({ status: 'PENDING' })
      return inserted
    },
    timeLeftMs,
    signal,
  )
  switch (sending.outcome) {
    case 'stored':
      return sendingAnswer(ctx, caller, signatureId)
    case 'not_stored':
      return answerOr(new Error('a claimed key has no claim'))
    case 'no_provider':
      return answerOr(noUsableProvider(ctx, sending.passedOver, budgetMs))
  }
}

/** Makes the signature of a request. Every field of the request has to be named here, or this doesn't compile. */
function newSignature({ keys, challenges }: Context, input: StartSignature, query: RouteQuery): NewSignature {
  const { caller, idempotencyKey, customerId, phone, transaction, channel, locale, ...rest } = input
  const { pushToken, customerSegment, ...unnamed } = rest
  unnamed satisfies Record<string, never>

  const id = uuidv7()
  const { country, phoneHmac, transactionDigest } = query
  const customerHmac = lookUpHmac(keys.index, 'customer', customerId)
  const pushTokenHmac = pushToken !== undefined && lookUpHmac(keys.index, 'push token', pushToken)
  // HMACs, as a phone number is found from a plain hash by trying them all. In this order, as older replicas have it.
  const told: Record<keyof StartSignature, (string | Buffer)[]> = {
    caller: [], // the key is this caller's
    idempotencyKey: [], // the key that stands for the rest
    customerId: [customerHmac],
    phone: [phoneHmac],
    transaction: [transactionDigest],
    channel: [channel ?? ''],
    locale: [locale],
    // Named and only when set, so that a request without them is the same to older replicas.
    pushToken: pushTokenHmac ? ['push_token', pushTokenHmac] : [],
    customerSegment: customerSegment === '' ? [] : ['customer_segment', customerSegment],
  }
  return {
    id,
    caller,
    idempotencyKey,
    fingerprint: fingerprintOf(Object.values(told).flat()),
    customerHmac,
    phoneHmac,
    sealedPhone: seal(keys.pii, phone, id),
    maskedPhone: maskPhone(phone),
    country,
    sealedPushToken: pushToken === undefined ? undefined : seal(keys.pii, pushToken, pushTokenPlace(id)),
    requestedChannel: channel,
    customerSegment,
    locale,
    transaction,
    transactionDigest,
    ttlMs: challenges.ttlMs,
  }
}
