import { createHash } from 'node:crypto'
import { v7 as uuidv7 } from 'uuid'
import type { Context } from '../context.ts'
import { recordDelivery } from '../db/challenges.ts'
import { findClaim, insertSignature, type NewSignature } from '../db/signatures.ts'
import type { Challenge, Channel } from '../domain/challenge.ts'
import { lengthPrefixed } from '../domain/fields.ts'
import { generateCode, sealCode } from '../domain/one-time-code.ts'
import { lookUpHmac, maskPhone, sealPhone } from '../domain/phone.ts'
import { matchRoute } from '../domain/routing.ts'
import type { Signature } from '../domain/signature.ts'
import { type Transaction, transactionDigest } from '../domain/transaction.ts'
import { AppError } from '../errors.ts'
import { challengeFailure, currentSignature, latestChallenge } from './current.ts'

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
}

export interface StartedSignature {
  signature: Signature
  challenge: Challenge
}

/** What a caller told to wait for its own earlier call should wait. */
const IN_PROGRESS_RETRY_MS = 1_000

/**
 * Starts a signature and delivers its code. The same key and request give the same signature and no second message.
 * Throws the reasons that the proto names at StartSignature.
 */
export async function startSignature(
  ctx: Context,
  input: StartSignature,
  signal: AbortSignal,
): Promise<StartedSignature> {
  const { caller, phone, transaction, locale } = input
  const route = matchRoute(ctx.routes, { ...input, ...transaction })
  const provider = route && ctx.providers.get(route.provider)
  // The table may have changed since the first call with this key.
  if (!provider) return repeatedStart(ctx, input)

  const code = generateCode()
  const started = newSignature(ctx, input, route, code)
  const expiresAt = new Date(ctx.clock().getTime() + ctx.challenges.ttlMs)
  // Committed before anything is sent: a code the customer can read must already be verifiable.
  if (!(await insertSignature(ctx.db, started))) return repeatedStart(ctx, input)
  ctx.metrics.signatures.inc({ status: 'PENDING' })

  const challenge = { id: started.challengeId, signatureId: started.id, provider: provider.name }
  const delivery = await ctx.deliver(
    provider,
    { challengeId: challenge.id, phone, code, transaction, locale, expiresAt },
    signal,
  )
  // Without the caller's signal: what was sent is recorded whether or not anyone still waits for the answer.
  if (await recordDelivery(ctx.db, challenge, delivery)) ctx.metrics.signatures.inc({ status: 'FAILED' })
  return startedSignature(ctx, caller, started.id)
}

function newSignature(ctx: Context, input: StartSignature, route: NewSignature['route'], code: string): NewSignature {
  const { caller, idempotencyKey, phone, customerId, transaction, locale } = input
  const [id, challengeId] = [uuidv7(), uuidv7()]
  const digest = transactionDigest(transaction)
  return {
    id,
    challengeId,
    caller,
    idempotencyKey,
    fingerprint: fingerprintOf(ctx.keys, input),
    customerHmac: lookUpHmac(ctx.keys.index, 'customer', customerId),
    phoneHmac: lookUpHmac(ctx.keys.index, 'phone', phone),
    phone: sealPhone(ctx.keys.pii, phone, id),
    maskedPhone: maskPhone(phone),
    locale,
    transaction,
    transactionDigest: digest,
    route,
    code: sealCode(ctx.keys.code, code, { challengeId, transactionDigest: digest }),
    ...ctx.challenges,
  }
}

/** Tells one request from another. Over keyed HMACs, as a plain hash of a phone number is found by trying them all. */
function fingerprintOf({ index }: Context['keys'], input: StartSignature): Buffer {
  const { customerId, phone, transaction, channel, locale } = input
  return createHash('sha256')
    .update(
      lengthPrefixed([
        lookUpHmac(index, 'customer', customerId),
        lookUpHmac(index, 'phone', phone),
        transactionDigest(transaction),
        channel ?? '',
        locale,
      ]),
    )
    .digest()
}

/** The answer to a call whose key was claimed before. Throws NO_ROUTE when it wasn't: then only a route was missing. */
async function repeatedStart(ctx: Context, input: StartSignature): Promise<StartedSignature> {
  const claim = await findClaim(ctx.db, input.caller, input.idempotencyKey)
  if (!claim) throw new AppError('NO_ROUTE', 'no row of the routing table matches')
  if (!claim.fingerprint.equals(fingerprintOf(ctx.keys, input))) {
    throw new AppError('IDEMPOTENCY_KEY_REUSED', 'the idempotency key was used for another request')
  }
  return startedSignature(ctx, input.caller, claim.signatureId)
}

/** A started signature as its caller is told of it, by the call that started it and by every repetition. */
async function startedSignature(ctx: Context, caller: string, signatureId: string): Promise<StartedSignature> {
  const signature = await currentSignature(ctx, caller, signatureId)
  const challenge = await latestChallenge(ctx, caller, signature)
  if (challenge.beingDelivered) {
    throw new AppError('IDEMPOTENCY_IN_PROGRESS', 'the first call with this key is still sending', {
      retryAfterMs: IN_PROGRESS_RETRY_MS,
    })
  }
  if (challenge.failure && challenge.failure.reason !== 'TRIES_EXHAUSTED') throw challengeFailure(challenge)
  return { signature, challenge }
}
