import { getExample } from 'awesome-phonenumber'
import { expect, test } from 'vitest'
import { CALLING_CODES, countryOf, isE164, maskPhone, nationalSpelling } from '../../src/domain/phone.ts'

const PHONE = '+34600111222'

test.for([PHONE, '+1234567', '+123456789012345', '+15005550006'])('%s is in E.164', (phone) => {
  expect(isE164(phone)).toBe(true)
})

test.for([
  '',
  '+',
  '0034600111222',
  '34600111222',
  '+034600111222',
  '+123456',
  '+1234567890123456',
  '+34 600 111 222',
  '+34-600111222',
  '+34600ABCDEF',
  '+34600111222\n',
  '\n+34600111222',
  ' +34600111222',
  '++34600111222',
  '+３４600111222',
  '＋34600111222',
  '+٣٤600111222',
  '+34600111222;ext=1',
])('%j is not in E.164', (phone) => {
  expect(isE164(phone)).toBe(false)
})

test.for([
  ['+34600111222', '+34*****222'],
  ['+15005550006', '+1*****006'],
  ['+79161234567', '+7*****567'],
  ['+201001234567', '+20*****567'],
  ['+447911123456', '+44*****456'],
  ['+999912345678', '+999*****678'],
  ['+351912345678', '+351*****678'],
  ['+3545551234', '+354*****34'],
  ['+4231234567', '+423*****67'],
  ['+85261234567', '+852*****67'],
  ['+2125551234567', '+212*****567'],
  ['+6791234', '+679*****4'],
  ['+1234567', '+1*****67'],
  ['+4712345', '+47*****5'],
] as const)('%s is shown as %s', ([phone, masked]) => {
  expect(maskPhone(phone)).toBe(masked)
})

test('a mask never shows more than three digits, nor more than a third, of what follows the country code', () => {
  for (const countryCode of ['1', '34', '351']) {
    for (let length = 7; length <= 15; length++) {
      const national = '9'.repeat(length - countryCode.length)
      const [, shown = ''] = maskPhone(`+${countryCode}${national}`).split('*****')
      expect(maskPhone(`+${countryCode}${national}`).startsWith(`+${countryCode}*****`)).toBe(true)
      expect(shown.length).toBeLessThanOrEqual(Math.min(3, national.length / 3))
    }
  }
})

test.for([
  ['+34600111222', 'ES'],
  ['+351912345678', 'PT'],
  ['+8613800138000', 'CN'],
  ['+96550012345', 'KW'],
  // Codes that several countries share.
  ['+14165550123', 'CA'],
  ['+12125550123', 'US'],
  ['+12425550123', 'BS'],
  ['+77012345678', 'KZ'],
  ['+79161234567', 'RU'],
  ['+447624123456', 'IM'],
  ['+442079460123', 'GB'],
  ['+35818123456', 'AX'],
  ['+3906698', 'VA'],
  // Too short, or given to nobody: the main country of the code.
  ['+1234567', 'US'],
  ['+15005550006', 'US'],
  ['+7', 'RU'],
  ['+440000000000', 'GB'],
  ['+34999', 'ES'],
  ['+349999999999999', 'ES'],
  // Networks that belong to no country, and codes that are not in use.
  ['+88213123456', undefined],
  ['+870773123456', undefined],
  ['+80012345678', undefined],
  ['+979123456789', undefined],
  ['+999123456789', undefined],
  ['+210123456789', undefined],
  ['', undefined],
] as const)('the country of %s is %s', ([phone, country]) => {
  expect(countryOf(phone)).toBe(country)
})

test('the numbers of a country begin with its calling code, and those of a code that it shares with none are all its own', () => {
  const codes = [...CALLING_CODES.values()]
  for (const [country, code] of CALLING_CODES) {
    expect([country, code]).toEqual([expect.stringMatching(/^[A-Z]{2}$/), expect.stringMatching(/^\+[1-9][0-9]{0,2}$/)])
    const isShared = codes.indexOf(code) !== codes.lastIndexOf(code)
    for (let digits = 0; digits < 100; digits++) {
      const phone = `${code}${String(digits).padStart(2, '0')}1234567`.slice(0, 9 + (digits % 6))
      const found = countryOf(phone) ?? 'none'
      if (isShared) expect(CALLING_CODES.get(found), phone).toBe(code)
      else expect(found, phone).toBe(country)
    }
  }
})

test.for([
  ['+4407418084106', '0', '+44'],
  ['+610412345678', '0', '+61'],
  ['+49015112345678', '0', '+49'],
  ['+112125550123', '1', '+1'],
  ['+788123456789', '8', '+7'],
  ['+360612345678', '06', '+36'],
  ['+5215512345678', '1', '+52'],
  // Also where nobody knows the number behind it.
  ['+440000000000', '0', '+44'],
] as const)('%s has to be without the %s after %s', ([phone, digits, countryCode]) => {
  expect(nationalSpelling(phone)).toBe(
    `must be without the "${digits}" after ${countryCode}, which is for calls within the country`,
  )
})

test('a number that is spelled as within its country in another way is not told what it should be', () => {
  // Argentina: a 15 within, where from abroad a 9 stands before it.
  expect(nationalSpelling('+54111523456789')).toBe('must be as it is called from abroad, not as within its country')
})

test.for([
  PHONE,
  '+390669812345', // Italy, the Ivory Coast and Benin keep their zero
  '+2250707123456',
  '+2290197123456',
  '+15005550006',
  '+447418084106',
  '+525512345678',
  // Given to nobody, or in no country.
  '+440000000',
  '+34999999999',
  '+99912345678',
  '+88213123456',
])('%s is spelled as it should be', (phone) => {
  expect(nationalSpelling(phone)).toBeUndefined()
})

const KINDS = ['fixed-line', 'mobile', 'toll-free', 'premium-rate', 'shared-cost', 'voip', 'personal-number'] as const

test("every country's numbers of every kind are spelled as they should be", () => {
  const examples = [...CALLING_CODES.keys()].flatMap((country) =>
    KINDS.flatMap((kind) => {
      try {
        return getExample(country, kind).number?.e164 ?? []
      } catch {
        return [] // it has none of that kind
      }
    }),
  )
  expect(examples.length).toBeGreaterThan(800)
  expect(examples.filter((phone) => nationalSpelling(phone) !== undefined)).toEqual([])
})
