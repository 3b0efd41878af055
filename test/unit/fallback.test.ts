import { describe, expect, test } from 'vitest'
import type { Candidate, PassedOver, PassReason } from '../../src/domain/challenge.ts'
import { candidatesOf, choiceOf, drawSeed, nextCandidate } from '../../src/domain/fallback.ts'
import type { ChannelStep } from '../../src/domain/routing.ts'

const CHANNELS: ChannelStep[] = [
  {
    channel: 'SMS',
    providers: [
      { provider: 'twilio-sms', weight: 70 },
      { provider: 'vonage-sms', weight: 20 },
      { provider: 'spare-sms', weight: 0 },
      { provider: 'other-sms', weight: 10 },
    ],
  },
  {
    channel: 'VOICE',
    providers: [
      { provider: 'twilio-voice', weight: 1 },
      { provider: 'other-voice', weight: 1 },
    ],
  },
  { channel: 'PUSH', providers: [{ provider: 'fcm-push', weight: 5 }] },
]

function seed(index: number): Buffer {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32BE(index)
  return bytes
}

function order(channels: ChannelStep[], index = 0): string[] {
  return candidatesOf({ channels }, seed(index)).map(({ provider }) => provider)
}

describe('the candidates of a route', () => {
  test('are all its providers, each once, channel by channel: the one drawn, then the others as listed', () => {
    for (let index = 0; index < 500; index++) {
      const candidates = candidatesOf({ channels: CHANNELS }, seed(index))
      const expected = CHANNELS.flatMap(({ channel, providers }) => {
        const listed = providers.map(({ provider }) => provider)
        const first = candidates.find((candidate) => candidate.channel === channel)?.provider
        return [first, ...listed.filter((provider) => provider !== first)].map((provider) => ({ provider, channel }))
      })
      expect(candidates).toEqual(expected)
    }
  })

  test('are drawn by weight, each channel by itself', () => {
    const seeds = 20_000
    const drawn = new Map<string, number>()
    for (let index = 0; index < seeds; index++) {
      const candidates = candidatesOf({ channels: CHANNELS }, seed(index))
      const [sms = '', voice = ''] = [candidates[0]?.provider, candidates[4]?.provider]
      for (const draw of [sms, voice, `${sms} ${voice}`]) drawn.set(draw, (drawn.get(draw) ?? 0) + 1)
    }
    const share = (draw: string) => (drawn.get(draw) ?? 0) / seeds
    const sms = { 'twilio-sms': 0.7, 'vonage-sms': 0.2, 'other-sms': 0.1 }
    for (const [provider, weight] of Object.entries(sms)) {
      expect(Math.abs(share(provider) - weight), provider).toBeLessThan(0.02)
      for (const voice of ['twilio-voice', 'other-voice']) {
        expect(Math.abs(share(voice) - 0.5), voice).toBeLessThan(0.02)
        expect(Math.abs(share(`${provider} ${voice}`) - weight / 2), `${provider} ${voice}`).toBeLessThan(0.02)
      }
    }
    expect(drawn.has('spare-sms')).toBe(false)
  })

  test('with a weight of 0 never come first, wherever they stand', () => {
    for (const weights of [
      [0, 1, 0],
      [0, 0, 1],
      [1, 0, 0],
    ]) {
      const providers = weights.map((weight, place) => ({ provider: `p${place}`, weight }))
      const first = `p${weights.indexOf(1)}`
      for (let index = 0; index < 200; index++) expect(order([{ channel: 'SMS', providers }], index)[0]).toBe(first)
    }
  })

  test('come as listed where no weight is above 0', () => {
    const providers = ['a', 'b', 'c'].map((provider) => ({ provider, weight: 0 }))
    expect(order([{ channel: 'SMS', providers }])).toEqual(['a', 'b', 'c'])
  })

  test('are the same for the same seed, and of each channel whatever the others are', () => {
    for (let index = 0; index < 100; index++) {
      const candidates = order(CHANNELS, index)
      expect(order(CHANNELS, index)).toEqual(candidates)
      expect(order(CHANNELS.slice(1), index)).toEqual(candidates.slice(4))
      expect(order(CHANNELS.toReversed(), index).toSorted()).toEqual(candidates.toSorted())
      expect(order(CHANNELS.toReversed(), index).slice(3)).toEqual(candidates.slice(0, 4))
    }
  })

  test('are drawn in a fixed way, so that replicas of two versions agree and an old draw can be explained', () => {
    const seeds = Array.from({ length: 12 }, (_, index) => order(CHANNELS, index))
    const initials = (place: number) => seeds.map((candidates) => candidates[place]?.[0]).join('')
    expect([initials(0), initials(4)]).toEqual(['vttvtotttvvo', 'totototottot'])
  })

  test('leave the route as it is', () => {
    const before = structuredClone(CHANNELS)
    for (let index = 0; index < 20; index++) order(CHANNELS, index)
    expect(CHANNELS).toEqual(before)
  })
})

test('a draw depends on the phone and on the transaction, each for itself', () => {
  const [a, b, ab] = [Buffer.from('a'), Buffer.from('b'), Buffer.from('ab')]
  expect(drawSeed(a, b)).toEqual(drawSeed(Buffer.from('a'), Buffer.from('b')))
  const seeds = [drawSeed(a, b), drawSeed(b, a), drawSeed(a, a), drawSeed(ab, Buffer.alloc(0)), drawSeed(b, b)]
  expect(new Set(seeds.map((bytes) => bytes.toString('hex'))).size).toBe(seeds.length)
})

describe('the next candidate', () => {
  const sms: Candidate[] = ['sms-1', 'sms-2', 'sms-3'].map((provider) => ({ provider, channel: 'SMS' }))
  const voice: Candidate[] = ['voice-1', 'voice-2'].map((provider) => ({ provider, channel: 'VOICE' }))
  const all = [...sms, ...voice]

  function passed(...reasons: PassReason[]): PassedOver[] {
    return reasons.map((reason, place) => ({ ...(all[place] as Candidate), reason }))
  }
  function next(passedOver: PassedOver[], out: Record<string, PassReason> = {}) {
    return nextCandidate(all, passedOver, ({ provider }) => out[provider])
  }

  test('is the first, when nothing stands in its way', () => {
    expect(next([])).toEqual({ candidate: sms[0], passedOver: [] })
  })

  test.for(['PAUSED', 'BREAKER_OPEN', 'NOT_CONFIGURED', 'NO_PUSH_TOKEN'] as const)(
    'is not one that is %s: that is noted, and the one after it used',
    (reason) => {
      expect(next([], { 'sms-1': reason })).toEqual({ candidate: sms[1], passedOver: passed(reason) })
    },
  )

  test('may be of the next channel', () => {
    const out = { 'sms-1': 'PAUSED', 'sms-2': 'BREAKER_OPEN', 'sms-3': 'NOT_CONFIGURED' } as const
    expect(next([], out)).toEqual({
      candidate: voice[0],
      passedOver: passed('PAUSED', 'BREAKER_OPEN', 'NOT_CONFIGURED'),
    })
  })

  test.for(['PROVIDER_UNAVAILABLE', 'OUTCOME_UNKNOWN'] as const)('after %s is of the same channel', (reason) => {
    expect(next(passed(reason))).toEqual({ candidate: sms[1], passedOver: passed(reason) })
  })

  test('comes after those passed over, though nothing stands in their way any more', () => {
    const before = passed('PAUSED', 'PROVIDER_UNAVAILABLE')
    expect(next(before)).toEqual({ candidate: sms[2], passedOver: before })
  })

  test('goes on noting where it left off', () => {
    expect(next(passed('PROVIDER_UNAVAILABLE'), { 'sms-1': 'PAUSED', 'sms-2': 'BREAKER_OPEN' })).toEqual({
      candidate: sms[2],
      passedOver: passed('PROVIDER_UNAVAILABLE', 'BREAKER_OPEN'),
    })
  })

  test('of a recipient that can’t be reached is of the next channel, and nobody of this one is asked', () => {
    const asked: string[] = []
    const before = passed('PROVIDER_UNAVAILABLE', 'DESTINATION_UNREACHABLE')
    const found = nextCandidate(all, before, ({ provider }) => {
      asked.push(provider)
      return undefined
    })
    expect(found).toEqual({ candidate: voice[0], passedOver: [...before, { ...sms[2], reason: 'RECIPIENT_REFUSED' }] })
    expect(asked).toEqual(['voice-1'])
  })

  test('is still of the next channel where one of this was paused too', () => {
    const found = next(passed('DESTINATION_UNREACHABLE'), { 'sms-2': 'PAUSED', 'voice-1': 'PAUSED' })
    expect(found.candidate).toEqual(voice[1])
    expect(found.passedOver.map(({ reason }) => reason)).toEqual([
      'DESTINATION_UNREACHABLE',
      'RECIPIENT_REFUSED',
      'RECIPIENT_REFUSED',
      'PAUSED',
    ])
  })

  test('is none when all were passed over, and each says why', () => {
    const out = { 'sms-2': 'PAUSED', 'sms-3': 'PAUSED', 'voice-1': 'BREAKER_OPEN', 'voice-2': 'PAUSED' } as const
    const spent = next(passed('OUTCOME_UNKNOWN'), out)
    expect(spent).toEqual({
      candidate: undefined,
      passedOver: passed('OUTCOME_UNKNOWN', 'PAUSED', 'PAUSED', 'BREAKER_OPEN', 'PAUSED'),
    })
    expect(next(spent.passedOver)).toEqual(spent)
    expect(nextCandidate([], [], () => undefined)).toEqual({ candidate: undefined, passedOver: [] })
  })

  test('leaves what it was given as it is', () => {
    const before = passed('DESTINATION_UNREACHABLE')
    next(before, { 'voice-1': 'PAUSED' })
    expect(before).toEqual(passed('DESTINATION_UNREACHABLE'))
  })
})

describe('why a candidate is the one', () => {
  const sms = { provider: 'vonage-sms', channel: 'SMS' } as const
  const passed = (channel: Candidate['channel']): PassedOver => ({ provider: 'x', channel, reason: 'PAUSED' })

  test.each([
    ['the only one of its channel with any weight', CHANNELS.slice(2), [], 'FIRST_IN_LINE'],
    ['one of several with weight', CHANNELS, [], 'DRAWN_BY_WEIGHT'],
    ['after one of its channel', CHANNELS, [passed('SMS')], 'NEXT_PROVIDER'],
    ['after one of another channel', CHANNELS, [passed('SMS'), passed('PUSH')], 'NEXT_CHANNEL'],
  ] as const)('%s', (_, channels, passedOver, choice) => {
    expect(choiceOf({ channels: [...channels] }, sms, passedOver)).toBe(choice)
  })

  test('one that only stands in does not make a draw', () => {
    const providers = [
      { provider: 'twilio-sms', weight: 1 },
      { provider: 'vonage-sms', weight: 0 },
    ]
    expect(choiceOf({ channels: [{ channel: 'SMS', providers }] }, sms, [])).toBe('FIRST_IN_LINE')
  })
})
