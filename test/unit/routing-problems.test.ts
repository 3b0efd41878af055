import { describe, expect, test } from 'vitest'
import type { Channel } from '../../src/domain/challenge.ts'
import type { RouteDraft, StepDraft, WindowDraft } from '../../src/domain/route-draft.ts'
import { routingProblems } from '../../src/domain/routing-problems.ts'
import { ANY } from '../support/any-match.ts'

const PROVIDERS = new Map<string, { channel: Channel }>([
  ['twilio-sms', { channel: 'SMS' }],
  ['vonage-sms', { channel: 'SMS' }],
  ['twilio-voice', { channel: 'VOICE' }],
])

const SMS = step('SMS', ['twilio-sms', 1])
const VOICE = step('VOICE', ['twilio-voice', 1])
const NIGHT: WindowDraft = { start: '22:00', end: '06:00', timeZone: 'Europe/Madrid', weekdays: [] }

function step(channel: string, ...providers: [provider: string, weight: number][]): StepDraft {
  return { channel, providers: providers.map(([provider, weight]) => ({ provider, weight })) }
}

function row(priority: number, match: Partial<RouteDraft['match']> = {}, channels: StepDraft[] = [SMS]): RouteDraft {
  return { priority, match: { ...ANY, ...match }, channels }
}

/** Each problem as "field: description". */
function problems(routes: RouteDraft[], providers: ReadonlyMap<string, { channel: Channel }> = PROVIDERS): string[] {
  return routingProblems(routes, providers).map(({ field, description }) => `${field}: ${description}`)
}

/** Problems of one row with this match, without where the row stands. */
function matchProblems(match: Partial<RouteDraft['match']>): string[] {
  return problems([row(1, match)]).map((problem) => problem.replace('routes[0].match.', ''))
}

function channelProblems(...channels: StepDraft[]): string[] {
  return problems([row(1, {}, channels)]).map((problem) => problem.replace('routes[0].', ''))
}

test('a right table has none', () => {
  const match = { channel: 'VOICE', country: 'ES', transactionType: 'CARD', customerSegment: 'private' } as const
  const amount = { currency: 'EUR', min: '10.5', max: '10.50' }
  const both = step('SMS', ['twilio-sms', 1000], ['vonage-sms', 0])
  expect(problems([row(1_000_000), row(1, { ...match, amount, timeWindow: NIGHT }, [VOICE, both])])).toEqual([])
})

test('a table has 1 to 1,000 rows', () => {
  const rows = (count: number) =>
    Array.from({ length: count }, (_, at) => row(at + 1, { transactionType: `type ${at}` }))
  expect(problems([])).toEqual(['routes: must not be empty: no signature could be started'])
  expect(problems(rows(1_000))).toEqual([])
  expect(problems(rows(1_001))).toEqual(['routes: must be at most 1000'])
})

test('a priority is 1 to 1,000,000, and no other row’s', () => {
  for (const priority of [0, -1, 1_000_001, Number.NaN]) {
    expect(problems([row(priority)])).toEqual(['routes[0].priority: must be 1 to 1,000,000'])
  }
  expect(problems([row(7), row(8, { country: 'ES' }), row(7), row(8), row(7)])).toEqual([
    'routes[2].priority: must be another than that of routes[0]',
    'routes[3].priority: must be another than that of routes[1]',
    'routes[4].priority: must be another than that of routes[0]',
  ])
})

describe('what a row matches', () => {
  test('on a channel is the first of its own', () => {
    const wrong = ["routes[0].match.channel: must be the first of the route's channels"]
    expect(problems([row(1, { channel: 'VOICE' }, [VOICE, SMS])])).toEqual([])
    expect(problems([row(1, { channel: 'SMS' }, [VOICE, SMS])])).toEqual(wrong)
    expect(problems([row(1, { channel: 'PUSH' })])).toEqual(wrong)
  })

  test('by country is one that there is', () => {
    for (const country of ['ES', 'US', 'GG', 'VA']) expect(matchProblems({ country })).toEqual([])
    for (const country of ['', 'es', 'ESP', 'ZZ', '34', ' ES', 'toString']) {
      expect(matchProblems({ country }), country).toEqual([
        'country: must be an ISO 3166-1 alpha-2 country that has phone numbers',
      ])
    }
  })

  test('by calling prefix is "+" and 1 to 15 digits', () => {
    for (const callingPrefix of ['+1', '+34', '+123456789012345']) expect(matchProblems({ callingPrefix })).toEqual([])
    for (const callingPrefix of ['', '+', '34', '+0', '+034', '+1234567890123456', '+34 6', '+34\n', ' +34', '+٣٤']) {
      expect(matchProblems({ callingPrefix }), callingPrefix).toEqual([
        'calling_prefix: must be "+" and 1 to 15 digits',
      ])
    }
  })

  test('is a country or a calling prefix', () => {
    expect(matchProblems({ country: 'ES', callingPrefix: '+346' })).toEqual([
      'calling_prefix: must not be set beside country',
    ])
  })

  test.for([
    ['transactionType', 'transaction_type'],
    ['customerSegment', 'customer_segment'],
  ] as const)('by %s is up to 64 characters of plain text', ([field, name]) => {
    for (const text of ['', 'CARD', '💶'.repeat(64)]) expect(matchProblems({ [field]: text })).toEqual([])
    const [tooLong, unsafe] = [
      'must be at most 64 characters',
      'must hold no control characters and no invisible formatting',
    ]
    expect(matchProblems({ [field]: 'x'.repeat(65) })).toEqual([`${name}: ${tooLong}`])
    expect(matchProblems({ [field]: 'a\nb' })).toEqual([`${name}: ${unsafe}`])
    expect(matchProblems({ [field]: '\u202e'.repeat(65) })).toEqual([`${name}: ${tooLong}`, `${name}: ${unsafe}`])
  })

  test('by amount is a currency and decimal numbers, the least first', () => {
    const [decimal, max] = ['123456789012345678.123456789', '999999999999999999.999999999']
    for (const bounds of [
      [null, null],
      ['0', '0'],
      [null, '5'],
      ['5', null],
      [decimal, max],
      ['9', '10'],
    ] as const) {
      expect(matchProblems({ amount: { currency: 'KWD', min: bounds[0], max: bounds[1] } })).toEqual([])
    }
    for (const currency of ['', 'eur', 'EURO', 'XXX', 'ABC']) {
      const amount = { currency, min: null, max: null }
      expect(matchProblems({ amount })).toEqual(['amount.currency_code: must be an ISO 4217 code'])
    }
    const wrong = 'must be a decimal number, at most 18 digits before the point and 9 after it'
    for (const bad of [
      '',
      '-1',
      '+1',
      '1.',
      '.5',
      '1,5',
      '1e3',
      '0x1',
      ' 1',
      '1\n',
      `1${'0'.repeat(18)}`,
      '0.1234567890',
    ]) {
      expect(matchProblems({ amount: { currency: 'EUR', min: bad, max: '0' } }), bad).toEqual([`amount.min: ${wrong}`])
      expect(matchProblems({ amount: { currency: 'EUR', min: '5', max: bad } }), bad).toEqual([`amount.max: ${wrong}`])
    }
    const below = { currency: 'EUR', min: '10.000000001', max: '10' }
    expect(matchProblems({ amount: below })).toEqual(['amount.max: must not be below min'])
  })

  test('by time is hours of a day in a time zone, on days each named once', () => {
    const edge: WindowDraft = { ...NIGHT, start: '00:00', end: '23:59', weekdays: ['SUNDAY', 'MONDAY'] }
    expect(matchProblems({ timeWindow: edge })).toEqual([])
    const worst: WindowDraft = {
      start: '24:00',
      end: '6:00',
      timeZone: 'Madrid',
      weekdays: ['MONDAY', 'FRIDAY', 'MONDAY'],
    }
    expect(matchProblems({ timeWindow: worst })).toEqual([
      'time_window.start: must be HH:MM, 00:00 to 23:59',
      'time_window.end: must be HH:MM, 00:00 to 23:59',
      'time_window.time_zone: must be an IANA time zone, for example "Europe/Madrid"',
      'time_window.weekdays: must each be named once',
    ])
  })
})

describe('where a row delivers', () => {
  const push = step('PUSH', ['fcm-push', 1])

  test('is 1 to 3 channels, each once: a second time would be a loop', () => {
    const providers = new Map([...PROVIDERS, ['fcm-push', { channel: 'PUSH' as const }]])
    expect(problems([row(1, {}, [push, SMS, VOICE])], providers)).toEqual([])
    expect(channelProblems()).toEqual(['channels: must be 1 to 3'])
    expect(channelProblems(SMS, VOICE, SMS)).toEqual([
      'channels[2].channel: makes a loop: routes[0].channels[0] is SMS as well',
    ])
  })

  test('is over 1 to 10 providers of each channel, each once', () => {
    const many = (count: number) => Array.from({ length: count }, (_, at): [string, number] => [`sms-${at}`, 1])
    const known = new Map(many(11).map(([name]) => [name, { channel: 'SMS' as const }]))
    expect(problems([row(1, {}, [step('SMS', ...many(10))])], known)).toEqual([])
    const tooMany = 'routes[0].channels[0].providers: must be 1 to 10'
    expect(problems([row(1, {}, [step('SMS', ...many(11))])], known)).toEqual([tooMany])
    expect(channelProblems(step('SMS'))).toEqual(['channels[0].providers: must be 1 to 10'])
    expect(channelProblems(step('SMS', ['twilio-sms', 1], ['vonage-sms', 1], ['twilio-sms', 2]))).toEqual([
      'channels[0].providers[2].provider: must be named once',
    ])
  })

  test('is over providers that there are, of that channel', () => {
    expect(channelProblems(SMS, step('VOICE', ['twilio-voice', 1], ['nobody', 1], ['twilio-sms', 1]))).toEqual([
      'channels[1].providers[1].provider: must be a provider of VOICE: twilio-voice',
      'channels[1].providers[2].provider: must be a provider of VOICE: twilio-voice',
    ])
    expect(channelProblems(step('SMS', ['Twilio-SMS', 1]), push)).toEqual([
      'channels[0].providers[0].provider: must be a provider of SMS: twilio-sms, vonage-sms',
      'channels[1].providers[0].provider: must be a provider of PUSH: there is none',
    ])
  })

  test('is by weights of 0 to 1,000, one of them above 0', () => {
    const weights = (one: number, other: number) => step('SMS', ['twilio-sms', one], ['vonage-sms', other])
    for (const fine of [weights(1000, 0), weights(0, 1), SMS]) expect(channelProblems(fine)).toEqual([])
    for (const weight of [-1, 1001, Number.NaN]) {
      expect(channelProblems(weights(1, weight))).toEqual(['channels[0].providers[1].weight: must be 0 to 1000'])
    }
    expect(channelProblems(VOICE, weights(0, 0))).toEqual([
      'channels[1].providers: must have one with a weight above 0',
    ])
  })
})

test('all problems of all rows are told at once, each where it is', () => {
  const amount = { currency: 'euro', min: '5', max: '4' }
  const bad = row(0, { country: 'XX', amount, timeWindow: { ...NIGHT, timeZone: '' } }, [step('SMS', ['nobody', 0])])
  expect(
    routingProblems([row(5), bad, row(5, { customerSegment: '\0' })], PROVIDERS).map(({ field }) => field),
  ).toEqual([
    'routes[1].priority',
    'routes[1].match.country',
    'routes[1].match.amount.currency_code',
    'routes[1].match.amount.max',
    'routes[1].match.time_window.time_zone',
    'routes[1].channels[0].providers[0].provider',
    'routes[1].channels[0].providers',
    'routes[2].priority',
    'routes[2].match.customer_segment',
  ])
})

test('of a list that is too long nothing but that is told, as each of its items may be wrong', () => {
  const nobody = step('SMS', ['acme-sms', 0])
  const weekdays = Array.from({ length: 8 }, () => 'SOMEDAY')
  expect(problems(Array.from({ length: 1_001 }, () => row(0)))).toEqual(['routes: must be at most 1000'])
  expect(channelProblems(nobody, nobody, nobody, nobody)).toEqual(['channels: must be 1 to 3'])
  expect(channelProblems(step('SMS', ...Array(11).fill(['acme-sms', 0])))).toEqual([
    'channels[0].providers: must be 1 to 10',
  ])
  expect(matchProblems({ timeWindow: { ...NIGHT, weekdays } })).toEqual(['time_window.weekdays: must be at most 7'])
})

test('no more than 100 problems are looked for', () => {
  expect(problems(Array.from({ length: 1_000 }, () => row(0)))).toHaveLength(100)
})

test('a channel and a day that are none are named with everything else', () => {
  const nowhere = step('FAX', ['twilio-sms', 0])
  const days = { ...NIGHT, weekdays: ['MONDAY', 'SOMEDAY'] } satisfies WindowDraft
  expect(problems([row(0, { timeWindow: days }, [nowhere, nowhere, SMS])])).toEqual([
    'routes[0].priority: must be 1 to 1,000,000',
    'routes[0].match.time_window.weekdays: must be days of the week',
    'routes[0].channels[0].channel: must be SMS, VOICE or PUSH',
    'routes[0].channels[0].providers: must have one with a weight above 0',
    'routes[0].channels[1].channel: must be SMS, VOICE or PUSH',
    'routes[0].channels[1].providers: must have one with a weight above 0',
  ])
})
