import { createHash } from 'node:crypto'
import type { Channel } from './challenge.ts'
import { lengthPrefixed } from './fields.ts'
import type { ChannelStep, Route } from './routing.ts'

/** A provider that a route may use. */
export interface Candidate {
  provider: string
  channel: Channel
}

/** Why a challenge went to its provider: the first of its route, drawn or the only one to begin with, or one after others. */
export type Choice = 'FIRST_IN_LINE' | 'DRAWN_BY_WEIGHT' | 'NEXT_PROVIDER' | 'NEXT_CHANNEL' | 'RESENT'

/** Why a provider was not used, or not the last one used. */
export type PassReason =
  /** Paused by an operator. */
  | 'PAUSED'
  /** Its circuit breaker is open: too many calls failed. */
  | 'BREAKER_OPEN'
  /** This replica has as many deliveries under way with it as it may. */
  | 'OVERLOADED'
  /** This replica has no credentials for it. */
  | 'NOT_CONFIGURED'
  /** The request came without a push token. */
  | 'NO_PUSH_TOKEN'
  /** Another provider of the channel was told that this recipient can't be reached. */
  | 'RECIPIENT_REFUSED'
  /** It was called, and the recipient can't be reached. */
  | 'DESTINATION_UNREACHABLE'
  /** It was called, and did not take the message. */
  | 'PROVIDER_UNAVAILABLE'
  /** It was called, and may have sent the message; the code was cancelled. */
  | 'OUTCOME_UNKNOWN'
  /** It sent the message, which did not arrive. */
  | 'UNDELIVERED'

/** A provider that comes before the one used, and why it was passed over. */
export interface PassedOver extends Candidate {
  reason: PassReason
}

/**
 * The providers of a route in the order in which they are tried. The first of each channel is drawn by weight; the same
 * seed always draws the same, so that a route can be explained and a table tried out before it rules.
 */
export function candidatesOf({ channels }: Pick<Route, 'channels'>, seed: Buffer): Candidate[] {
  return channels.flatMap((step) => {
    const first = drawn(step, seed)
    return step.providers
      .toSorted((a, b) => Number(b.provider === first) - Number(a.provider === first))
      .map(({ provider }) => ({ provider, channel: step.channel }))
  })
}

/**
 * What a draw depends on: the same transaction to the same phone number draws the same provider, another transaction
 * draws anew.
 */
export function drawSeed(phoneHmac: Buffer, transactionDigest: Buffer): Buffer {
  return lengthPrefixed([phoneHmac, transactionDigest])
}

/**
 * Goes on from those passed over to the first candidate that can be used. `whyNot` tells what stands in a candidate's
 * way. Without one left, `candidate` is undefined.
 */
export function nextCandidate(
  candidates: readonly Candidate[],
  passedOver: readonly PassedOver[],
  whyNot: (candidate: Candidate) => PassReason | undefined,
): { candidate: Candidate | undefined; passedOver: PassedOver[] } {
  const passed = [...passedOver]
  // Whoever is passed over was first in line, so what is left begins after them.
  for (const candidate of candidates.slice(passed.length)) {
    const refused = passed.some(
      ({ channel, reason }) => channel === candidate.channel && reason === 'DESTINATION_UNREACHABLE',
    )
    const reason = refused ? 'RECIPIENT_REFUSED' : whyNot(candidate)
    if (!reason) return { candidate, passedOver: passed }
    passed.push({ ...candidate, reason })
  }
  return { candidate: undefined, passedOver: passed }
}

/** Why a route's candidate is the one, after those passed over. */
export function choiceOf(
  { channels }: Pick<Route, 'channels'>,
  { channel }: Candidate,
  passedOver: readonly PassedOver[],
): Choice {
  const last = passedOver.at(-1)
  if (last) return last.channel === channel ? 'NEXT_PROVIDER' : 'NEXT_CHANNEL'
  const weighted = channels[0]?.providers.filter(({ weight }) => weight > 0) ?? []
  return weighted.length > 1 ? 'DRAWN_BY_WEIGHT' : 'FIRST_IN_LINE'
}

function drawn({ channel, providers }: ChannelStep, seed: Buffer): string | undefined {
  const total = providers.reduce((sum, { weight }) => sum + weight, 0)
  const hash = createHash('sha256')
    .update(lengthPrefixed([seed, channel]))
    .digest()
  let left = (hash.readUIntBE(0, 6) / 2 ** 48) * total
  return providers.find(({ weight }) => {
    left -= weight
    return left < 0
  })?.provider
}
