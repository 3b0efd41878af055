import { createHash } from 'node:crypto'
import type { Candidate, Choice, PassedOver, PassReason } from './challenge.ts'
import { lengthPrefixed } from './length-prefixed.ts'
import type { ChannelStep, Route } from './routing.ts'

/**
 * Returns a route's providers in the order in which they are tried. The first of each channel is drawn by weight; the same
 * seed always draws the same, so that a route can be explained and a table simulated before it is in force.
 */
export function candidatesOf({ channels }: Pick<Route, 'channels'>, seed: Buffer): Candidate[] {
  return channels.flatMap((step) => {
    const first = drawn(step, seed)
    return step.providers
      .toSorted((a, b) => Number(b.provider === first) - Number(a.provider === first))
      .map(({ provider }) => ({ provider, channel: step.channel }))
  })
}

/** Returns the seed of a draw: one transaction to one phone number always draws the same provider, another one draws anew. */
export function drawSeed(phoneHmac: Buffer, transactionDigest: Buffer): Buffer {
  return lengthPrefixed([phoneHmac, transactionDigest])
}

/**
 * Returns the first candidate after `passedOver` that can be used, undefined if none is left, and all those passed over
 * for it. `passReasonOf` returns why a candidate can't be used.
 */
export function nextCandidate(
  candidates: readonly Candidate[],
  passedOver: readonly PassedOver[],
  passReasonOf: (candidate: Candidate) => PassReason | undefined,
): { candidate: Candidate | undefined; passedOver: PassedOver[] } {
  const passed = [...passedOver]
  // Those passed over came first in order, so what is left begins after them.
  for (const candidate of candidates.slice(passed.length)) {
    const refused = passed.some(
      ({ channel, reason }) => channel === candidate.channel && reason === 'DESTINATION_UNREACHABLE',
    )
    const reason = refused ? 'RECIPIENT_REFUSED' : passReasonOf(candidate)
    if (!reason) return { candidate, passedOver: passed }
    passed.push({ ...candidate, reason })
  }
  return { candidate: undefined, passedOver: passed }
}

/** Returns why `candidate` of a route is the one used, after those passed over. */
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
