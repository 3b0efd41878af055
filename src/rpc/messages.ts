import type { MessageInitShape } from '@bufbuild/protobuf'
import {
  type ChallengeSchema,
  ChallengeStatus,
  Channel,
  DeliveryStatus,
  type SignatureSchema,
  SignatureStatus,
  type TimelineEventSchema,
} from '../../gen/bank/signature/v1/signature_pb.ts'
import type { Challenge } from '../domain/challenge.ts'
import type { Signature, TimelineEvent } from '../domain/signature.ts'
import { toTimestamp } from './times.ts'

/** A signature as the contract shows it; the timeline only where it was asked for. */
export function toSignature(
  signature: Signature & { timeline?: TimelineEvent[] },
): MessageInitShape<typeof SignatureSchema> {
  const { amount, ...transaction } = signature.transaction
  const { currency: currencyCode, units, nanos } = amount
  return {
    id: signature.id,
    status: SignatureStatus[signature.status],
    transaction: { ...transaction, amount: { currencyCode, units, nanos } },
    challengeIds: signature.challengeIds,
    createTime: toTimestamp(signature.createdAt),
    expireTime: toTimestamp(signature.expiresAt),
    ...(signature.completedAt && { completeTime: toTimestamp(signature.completedAt) }),
    timeline: (signature.timeline ?? []).map(toTimelineEvent),
  }
}

/** An event of a timeline as the contract shows it. */
export function toTimelineEvent({
  position,
  createdAt,
  type,
  challengeId,
  details,
}: TimelineEvent): MessageInitShape<typeof TimelineEventSchema> {
  return { position, time: toTimestamp(createdAt), type, challengeId: challengeId ?? '', details }
}

/** A challenge as the contract shows it. */
export function toChallenge(challenge: Challenge): MessageInitShape<typeof ChallengeSchema> {
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
    ...(challenge.sentAt && { sendTime: toTimestamp(challenge.sentAt) }),
    expireTime: toTimestamp(challenge.expiresAt),
    routingTableVersion: challenge.routingTableVersion ?? 0,
    routePriority: challenge.routePriority,
    choice: challenge.choice ?? '',
    ...(deliveryReport && {
      deliveryReport: {
        vendorStatus: deliveryReport.vendorStatus,
        providerErrorCode: deliveryReport.providerErrorCode ?? '',
        time: toTimestamp(deliveryReport.reportedAt),
      },
    }),
    passedOver: challenge.passedOver.map(({ provider, channel, reason }) => ({
      provider,
      channel: Channel[channel],
      reason,
    })),
    ...(failure && { failure: { reason: failure.reason, providerErrorCode: failure.providerErrorCode ?? '' } }),
  }
}
