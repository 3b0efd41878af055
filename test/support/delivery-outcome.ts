import { Code } from '@connectrpc/connect'
import { expect } from 'vitest'
import {
  ChallengeFailureReason,
  ChallengeStatus,
  DeliveryStatus,
  SignatureStatus,
  type StartSignatureResponse,
} from '../../gen/bank/signature/v1/signature_pb.ts'
import type { SimulatedCall } from '../../src/sandbox/sandbox.ts'
import { type App, codeIn, type Failure, row, typeName } from './app.ts'

/** How one call to the provider is recorded: what it meant, and the provider's code or what happened. */
export type Ended = [outcome: string, providerErrorCode: string | null]

export const SENT: Ended = ['sent', null]

/** So many calls that ended alike. */
export function times(count: number, ended: Ended): Ended[] {
  return Array.from({ length: count }, () => ended)
}

/** Asserts everything that a delivery which sent nothing tells its caller and leaves behind. */
export async function expectFailed(
  app: Pick<App, 'client' | 'db'>,
  error: Failure,
  reason: 'DESTINATION_UNREACHABLE' | 'PROVIDER_UNAVAILABLE',
  calls: Ended[],
): Promise<void> {
  const code = reason === 'PROVIDER_UNAVAILABLE' ? Code.Unavailable : Code.FailedPrecondition
  const provider_error_code = calls.at(-1)?.[1] ?? ''
  const { signature_id = '', challenge_id = '' } = error.metadata
  expect(error).toMatchObject({ code, reason, metadata: { provider: 'twilio-sms', provider_error_code } })
  expect(await row(app, 'signature', signature_id)).toMatchObject({ status: 'FAILED', completed_at: expect.any(Date) })
  expect(await row(app, 'challenge', challenge_id)).toMatchObject({
    signature_id,
    status: 'FAILED',
    failure_reason: reason,
    provider_error_code,
    delivery_status: null,
    provider_challenge_id: null,
    provider_proof: null,
    sent_at: null,
    tries_used: 0,
  })
  await expectRecord(app, signature_id, challenge_id, calls, [
    ['CHALLENGE_FAILED', { provider: 'twilio-sms', attempts: String(calls.length), reason, provider_error_code }],
    ['SIGNATURE_FAILED', { reason, provider_error_code }],
  ])
  const { challenge } = await app.client.getChallenge({ challengeId: challenge_id })
  expect(challenge).toMatchObject({
    status: ChallengeStatus.FAILED,
    failure: { reason: ChallengeFailureReason[reason], providerErrorCode: provider_error_code },
  })
}

/** Asserts everything that a delivery which may have sent the code tells its caller and leaves behind. */
export async function expectUnknown(
  app: Pick<App, 'client' | 'db'>,
  { signature, challenge }: Pick<StartSignatureResponse, 'signature' | 'challenge'>,
  calls: Ended[],
): Promise<void> {
  expect(signature).toMatchObject({ status: SignatureStatus.PENDING })
  expect(challenge).toMatchObject({
    status: ChallengeStatus.PENDING,
    deliveryStatus: DeliveryStatus.UNKNOWN,
    providerChallengeId: '',
    triesRemaining: 3,
  })
  expect(challenge?.sendTime).toBeUndefined()
  expect(challenge?.failure).toBeUndefined()
  expect(await row(app, 'signature', signature?.id ?? '')).toMatchObject({ status: 'PENDING', completed_at: null })
  expect(await row(app, 'challenge', challenge?.id ?? '')).toMatchObject({
    status: 'PENDING',
    delivery_status: 'UNKNOWN',
    failure_reason: null,
    provider_challenge_id: null,
    provider_proof: null,
    sent_at: null,
  })
  await expectRecord(app, signature?.id, challenge?.id, calls, [
    ['CHALLENGE_OUTCOME_UNKNOWN', { provider: 'twilio-sms', attempts: String(calls.length) }],
  ])
}

/** Asserts everything that a delivery which the provider took tells its caller and leaves behind. */
export async function expectSent(
  app: Pick<App, 'client' | 'db' | 'sandbox'>,
  { signature, challenge }: Pick<StartSignatureResponse, 'signature' | 'challenge'>,
  calls: Ended[],
): Promise<void> {
  const sid = app.sandbox.messages[0]?.sid ?? 'none'
  expect(signature).toMatchObject({ status: SignatureStatus.PENDING })
  expect(challenge).toMatchObject({
    status: ChallengeStatus.SENT,
    deliveryStatus: DeliveryStatus.ACCEPTED,
    providerChallengeId: sid,
  })
  expect(await row(app, 'signature', signature?.id ?? '')).toMatchObject({ status: 'PENDING', completed_at: null })
  expect(await row(app, 'challenge', challenge?.id ?? '')).toMatchObject({
    status: 'SENT',
    delivery_status: 'ACCEPTED',
    failure_reason: null,
    provider_challenge_id: sid,
    sent_at: expect.any(Date),
  })
  await expectRecord(app, signature?.id, challenge?.id, calls, [
    ['CHALLENGE_SENT', { provider: 'twilio-sms', attempts: String(calls.length), provider_challenge_id: sid }],
  ])
}

async function expectRecord(
  app: Pick<App, 'client' | 'db'>,
  signatureId: string | undefined,
  challengeId: string | undefined,
  calls: Ended[],
  events: [type: string, details: Record<string, string>][],
): Promise<void> {
  expect(await attempts(app, challengeId)).toEqual(
    calls.map(([outcome, provider_error_code], index) =>
      expect.objectContaining({ number: index + 1, outcome, provider_error_code }),
    ),
  )
  const { signature } = await app.client.getSignature({ signatureId: signatureId ?? '' })
  expect(signature?.timeline.map((event) => [typeName(event.type), event.details])).toEqual([
    ['SIGNATURE_STARTED', { route: '1000', routing_table_version: '1' }],
    ['CHALLENGE_STARTED', { channel: 'SMS', provider: 'twilio-sms' }],
    ...events,
  ])
  expect(new Set(signature?.timeline.slice(1).map((event) => event.challengeId))).toEqual(new Set([challengeId]))
}

/** The recorded calls of a challenge, in order. */
export function attempts({ db }: Pick<App, 'db'>, challengeId: string | undefined) {
  return db
    .selectFrom('attempt')
    .selectAll()
    .where('challenge_id', '=', String(challengeId))
    .orderBy('number')
    .execute()
}

/** The challenge that was made under an idempotency key: all there is to find it by when its caller got no answer. */
export function challengeOf({ db }: Pick<App, 'db'>, idempotencyKey: string | undefined) {
  return db
    .selectFrom('challenge')
    .innerJoin('idempotency_key', 'idempotency_key.signature_id', 'challenge.signature_id')
    .where('idempotency_key.key', '=', String(idempotencyKey))
    .selectAll('challenge')
    .executeTakeFirstOrThrow()
}

/**
 * Asserts the waits between the beginnings of calls, in milliseconds: never shorter than told, and longer by no more than
 * each call may take and a busy machine is late.
 */
export function expectWaits(moments: number[], waits: number[], callMs = 0): void {
  const gaps = moments.slice(1).map((moment, index) => moment - (moments[index] ?? 0))
  expect(gaps).toHaveLength(waits.length)
  for (const [index, wait] of waits.entries()) {
    expect(gaps[index]).toBeGreaterThanOrEqual(wait)
    expect(gaps[index]).toBeLessThan(wait + callMs + 400)
  }
}

/** Asserts that every call carried the same code, and gives it. */
export function oneCode(calls: readonly SimulatedCall[]): string {
  const codes = new Set(calls.map(({ form }) => codeIn(form.get('Body') ?? '')))
  expect(codes.size).toBe(1)
  return [...codes].join()
}
