import type { MessageShape } from '@bufbuild/protobuf'
import {
  ChallengeFailureReason,
  type ChallengeSchema,
  ChallengeStatus,
  Channel,
  Choice,
  DeliveryStatus,
  type PassedOverSchema,
  PassReason,
  type SignatureSchema,
  SignatureStatus,
  type TimelineEventSchema,
  TimelineEventType,
} from '../../gen/bank/signature/v1/signature_pb.ts'
import type { Challenge } from '../domain/challenge.ts'
import type { Signature, TimelineEvent } from '../domain/signature.ts'
import type { Filled } from './filled.ts'
import { toTimestamp } from './times.ts'

/** Returns a signature as the contract shows it. Its timeline is empty unless it was read too. */
export function toSignature(
  signature: Signature & { timeline?: TimelineEvent[] },
): Filled<MessageShape<typeof SignatureSchema>> {
  const { amount, ...transaction } = signature.transaction
  const { currency: currencyCode, units, nanos } = amount
  return {
    id: signature.id,
    status: SignatureStatus[signature.status],
    transaction: { ...transaction, amount: { currencyCode, units, nanos } },
    challengeIds: signature.challengeIds,
    createTime: toTimestamp(signature.createdAt),
    expireTime: toTimestamp(signature.expiresAt),
    completeTime: signature.completedAt ? toTimestamp(signature.completedAt) : undefined,
    timeline: (signature.timeline ?? []).map(toTimelineEvent),
  }
}

/** Returns an event of a timeline as the contract shows it. */
export function toTimelineEvent({
  position,
  createdAt,
  type,
  challengeId,
  details,
}: TimelineEvent): Filled<MessageShape<typeof TimelineEventSchema>> {
  return {
    position,
    time: toTimestamp(createdAt),
    // The table keeps the word that it has had from the beginning.
    type: known(TimelineEventType[type === 'PROVIDER_SKIPPED' ? 'PROVIDER_PASSED_OVER' : type]),
    challengeId: challengeId ?? '',
    details,
  }
}

/** Returns a challenge as the contract shows it. */
export function toChallenge(challenge: Challenge): Filled<MessageShape<typeof ChallengeSchema>> {
  const { failure, deliveryReport } = challenge
  return {
    id: challenge.id,
    signatureId: challenge.signatureId,
    channel: Channel[challenge.channel],
    provider: challenge.provider,
    status: ChallengeStatus[challenge.status],
    deliveryStatus: DeliveryStatus[challenge.deliveryStatus ?? 'UNSPECIFIED'],
    providerChallengeId: challenge.providerChallengeId ?? '',
    maskedPhoneNumber: challenge.maskedPhone,
    triesRemaining: challenge.triesRemaining,
    createTime: toTimestamp(challenge.createdAt),
    sendTime: challenge.sentAt ? toTimestamp(challenge.sentAt) : undefined,
    expireTime: toTimestamp(challenge.expiresAt),
    failure: failure
      ? {
          reason: known(ChallengeFailureReason[failure.reason]),
          providerErrorCode: failure.providerErrorCode ?? '',
        }
      : undefined,
    routingTableVersion: challenge.routingTableVersion ?? 0,
    routePriority: challenge.routePriority,
    choice: known(Choice[challenge.choice ?? 'UNSPECIFIED']),
    passedOver: challenge.passedOver.map(toPassedOver),
    deliveryReport: deliveryReport
      ? {
          vendorStatus: deliveryReport.vendorStatus,
          providerErrorCode: deliveryReport.providerErrorCode ?? '',
          time: toTimestamp(deliveryReport.reportedAt),
        }
      : undefined,
  }
}

function toPassedOver({
  provider,
  channel,
  reason,
}: Challenge['passedOver'][number]): Filled<MessageShape<typeof PassedOverSchema>> {
  return { provider, channel: Channel[channel], reason: known(PassReason[reason]) }
}

/** Returns UNSPECIFIED for a value that a later version has stored. */
function known<T extends number>(value: T | undefined): T | 0 {
  return value ?? 0
}
