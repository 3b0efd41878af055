import { createHash } from 'node:crypto'
import { v7 as uuidv7 } from 'uuid'
import type { Context } from '../context.ts'
import type { SignatureWithChallenge } from '../db/latest-challenge.ts'
import type { NewChallenge } from '../db/new-challenges.ts'
import { findClaim, insertSignature, type NewSignature } from '../db/signatures.ts'
import type { Channel } from '../domain/challenge.ts'
import { lengthPrefixed } from '../domain/length-prefixed.ts'
import { lookUpHmac } from '../domain/look-up-hmac.ts'
import { maskPhone } from '../domain/phone.ts'
import { seal } from '../domain/sealed.ts'
import { type Transaction, transactionDigest } from '../domain/transaction.ts'
import { AppError } from '../errors.ts'
import { challengeOutcome } from './current.ts'
import { budgetWithin, deliverCode, newChallenge } from './deliver-code.ts'
import { nextUsable, noUsableProvider, planRoute } from './plan-route.ts'
import { pushTokenPlace } from './recipient.ts'

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
  const plan = planRoute(ctx, input)
  // The table may have changed since the first call with this key, and providers may have been paused.
  if (!plan) return repeatedStart(ctx, input, new AppError('NO_ROUTE', 'no row of the routing table matches'))
  const { candidate, passedOver } = nextUsable(ctx, plan, [], pushToken !== undefined, budgetMs)
  if (!candidate) return repeatedStart(ctx, input, noUsableProvider(ctx, passedOver, budgetMs))
  using delivering = ctx.inFlight.enter(candidate.provider)

  const digest = transactionDigest(transaction)
  const first = newChallenge(ctx, plan, candidate, passedOver, digest)
  const signature = newSignature(ctx, input, digest, first.challenge)
  // Committed before anything is sent: a code the customer can read must already be verifiable.
  const inserted = await insertSignature(ctx.db, signature)
  if (!inserted) return repeatedStart(ctx, input)
  ctx.metrics.signatures.inc({ status: 'PENDING' })

  const { id } = signature
  const { expiresAt, leftMs } = inserted
  const recipient = {
    signatureId: id,
    phone,
    pushToken,
    transaction,
    transactionDigest: digest,
    locale,
    expiresAt,
    leftMs,
  }
  await deliverCode(ctx, plan, recipient, first, delivering, timeLeftMs, signal)
  return challengeOutcome(ctx, caller, id)
}

function newSignature(ctx: Context, input: StartSignature, digest: Buffer, challenge: NewChallenge): NewSignature {
  const { caller, idempotencyKey, phone, pushToken, customerId, transaction, locale } = input
  const id = uuidv7()
  return {
    id,
    caller,
    idempotencyKey,
    fingerprint: fingerprintOf(ctx.keys, input),
    customerHmac: lookUpHmac(ctx.keys.index, 'customer', customerId),
    phoneHmac: lookUpHmac(ctx.keys.index, 'phone', phone),
    phone: seal(ctx.keys.pii, phone, id),
    maskedPhone: maskPhone(phone),
    pushToken: pushToken === undefined ? undefined : seal(ctx.keys.pii, pushToken, pushTokenPlace(id)),
    requestedChannel: input.channel,
    customerSegment: input.customerSegment,
    locale,
    transaction,
    transactionDigest: digest,
    ttlMs: ctx.challenges.ttlMs,
    challenge,
  }
}

/** Tells one request from another. Over keyed HMACs, as a plain hash of a phone number is found by trying them all. */
function fingerprintOf({ index }: Context['keys'], input: StartSignature): Buffer {
  const { customerId, phone, transaction, channel, locale, pushToken, customerSegment } = input
  return createHash('sha256')
    .update(
      lengthPrefixed([
        lookUpHmac(index, 'customer', customerId),
        lookUpHmac(index, 'phone', phone),
        transactionDigest(transaction),
        channel ?? '',
        locale,
        // Named and only when set, so that a request without them is the same to older replicas.
        ...(pushToken === undefined ? [] : ['push_token', lookUpHmac(index, 'push token', pushToken)]),
        ...(customerSegment === '' ? [] : ['customer_segment', customerSegment]),
      ]),
    )
    .digest()
}

/** The answer to a call whose key was claimed before. When it wasn't, throws what kept this call from claiming it. */
async function repeatedStart(ctx: Context, input: StartSignature, refusal?: AppError): Promise<SignatureWithChallenge> {
  const claim = await findClaim(ctx.db, input.caller, input.idempotencyKey)
  if (!claim) throw refusal ?? new Error('a claimed key has no claim')
  if (!claim.fingerprint.equals(fingerprintOf(ctx.keys, input))) {
    throw new AppError('IDEMPOTENCY_KEY_REUSED', 'the idempotency key was used for another request')
  }
  return challengeOutcome(ctx, input.caller, claim.signatureId)
}
