import { create } from '@bufbuild/protobuf'
import { expect, test } from 'vitest'
import {
  ChallengeFailureReason,
  ChallengeFailureReasonSchema,
  ChallengeSchema,
  Choice,
  ChoiceSchema,
  PassReason,
  PassReasonSchema,
  TimelineEventSchema,
  TimelineEventType,
  TimelineEventTypeSchema,
} from '../../gen/bank/signature/v1/signature_pb.ts'
import type { Challenge } from '../../src/domain/challenge.ts'
import type { TimelineEvent } from '../../src/domain/signature.ts'
import { toChallenge, toTimelineEvent } from '../../src/rpc/signature-messages.ts'

const challenge: Challenge = {
  id: '0198b4f2-0000-7000-8000-000000000001',
  signatureId: '0198b4f2-0000-7000-8000-000000000002',
  channel: 'SMS',
  provider: 'vonage-sms',
  status: 'FAILED',
  deliveryStatus: null,
  providerChallengeId: null,
  maskedPhone: '+34*****222',
  triesRemaining: 3,
  createdAt: new Date(0),
  sentAt: null,
  expiresAt: new Date(300_000),
  deliveryReport: null,
  failure: { reason: 'PROVIDER_UNAVAILABLE', providerErrorCode: null },
  routingTableVersion: null,
  routePriority: 1,
  choice: null,
  passedOver: [],
}
const event: TimelineEvent = {
  position: 1,
  createdAt: new Date(0),
  type: 'SIGNATURE_STARTED',
  challengeId: null,
  details: {},
}

/** The enum's names but for the first, UNSPECIFIED. */
function namesOf({ values }: { values: { localName: string }[] }): string[] {
  return values.slice(1).map(({ localName }) => localName)
}

test.each(namesOf(ChoiceSchema))('a challenge shows that its choice was %s', (name) => {
  const shown = create(ChallengeSchema, toChallenge({ ...challenge, choice: name as Challenge['choice'] }))
  expect(ChoiceSchema.value[shown.choice]?.localName).toBe(name)
})

test.each(namesOf(PassReasonSchema))('a challenge shows that a provider was passed over for %s', (name) => {
  const reason = name as Challenge['passedOver'][number]['reason']
  const passedOver = [{ provider: 'twilio-sms', channel: 'SMS' as const, reason }]
  const shown = create(ChallengeSchema, toChallenge({ ...challenge, passedOver }))
  expect(shown.passedOver.map((passed) => PassReasonSchema.value[passed.reason]?.localName)).toEqual([name])
})

test.each(namesOf(ChallengeFailureReasonSchema))('a challenge shows that it failed for %s', (name) => {
  const failure = { reason: name as NonNullable<Challenge['failure']>['reason'], providerErrorCode: null }
  const shown = create(ChallengeSchema, toChallenge({ ...challenge, failure }))
  expect(ChallengeFailureReasonSchema.value[shown.failure?.reason ?? 0]?.localName).toBe(name)
})

test.each(namesOf(TimelineEventTypeSchema))('a timeline shows the type %s', (name) => {
  const stored = name === 'PROVIDER_PASSED_OVER' ? 'PROVIDER_SKIPPED' : name
  const shown = create(TimelineEventSchema, toTimelineEvent({ ...event, type: stored as TimelineEvent['type'] }))
  expect(TimelineEventTypeSchema.value[shown.type]?.localName).toBe(name)
})

test('what an earlier version did not store, or a later one has, is shown as unspecified', () => {
  const later = 'OF_A_LATER_VERSION' as never
  expect(toChallenge(challenge).choice).toBe(Choice.UNSPECIFIED)
  const passed = { provider: 'twilio-sms', channel: 'SMS' as const, reason: later }
  const failure = { reason: later, providerErrorCode: null }
  expect(toChallenge({ ...challenge, choice: later, passedOver: [passed], failure })).toMatchObject({
    choice: Choice.UNSPECIFIED,
    passedOver: [{ reason: PassReason.UNSPECIFIED }],
    failure: { reason: ChallengeFailureReason.UNSPECIFIED },
  })
  expect(toTimelineEvent({ ...event, type: later }).type).toBe(TimelineEventType.UNSPECIFIED)
})
