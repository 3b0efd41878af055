import { expect, test } from 'vitest'
import { isPlainText, isReadable, lengthOf } from '../../src/domain/text.ts'

test.for([
  '',
  'ACME Ltd',
  "L'Été & Söhne, S.A.",
  'ООО «Ромашка»',
  '株式会社',
  'شركة',
  'חברה',
  '👩‍👩‍👧 Café',
  'e\u0301',
])('%j is plain text', (text) => {
  expect(isPlainText(text)).toBe(true)
})

test.for([
  ['a NUL', '\0'],
  ['a tab', '\t'],
  ['a line feed', '\n'],
  ['a carriage return', '\r'],
  ['an escape', '\x1b'],
  ['a delete', '\x7f'],
  ['a next line', '\x85'],
  ['a line separator', '\u2028'],
  ['a paragraph separator', '\u2029'],
  ['half a surrogate pair', '\ud800'],
  ['the other half', '\udc00'],
  ['a right-to-left override', '\u202e'],
  ['a right-to-left mark', '\u200f'],
  ['a left-to-right isolate', '\u2066'],
  ['an Arabic letter mark', '\u061c'],
  ['a zero-width space', '\u200b'],
  ['a soft hyphen', '\u00ad'],
])('%s is not, wherever it stands', ([, char = '']) => {
  for (const text of [char, `${char}ACME`, `AC${char}ME`, `ACME${char}`]) expect(isPlainText(text)).toBe(false)
})

test('of all characters, those that Unicode calls controls, separators of lines or formatting are refused, but for joiners', () => {
  const wronglyJudged: string[] = []
  for (let codePoint = 0; codePoint <= 0x10ffff; codePoint++) {
    if (codePoint >= 0xd800 && codePoint <= 0xdfff) continue
    const char = String.fromCodePoint(codePoint)
    const joiner = char === '\u200c' || char === '\u200d'
    const unsafe = !joiner && /[\p{Control}\p{Line_Separator}\p{Paragraph_Separator}\p{Format}]/u.test(char)
    if (isPlainText(char) === unsafe) wronglyJudged.push(codePoint.toString(16))
  }
  expect(wronglyJudged).toEqual([])
})

test.for(['A', '7', 'é', '株', 'ش', '\u3164A', '5 \u2800', 'Ⅻ'])('in %j there is something to read', (text) => {
  expect(isReadable(text)).toBe(true)
})

test.for(['', ' ', '-', '\u2800', '\u3164', '\u115f\u1160', '\uffa0', '\u034f', '\ufe0f', '\u0301', '\u{e0041}', '😀'])(
  'in %j there is nothing to read',
  (text) => {
    expect(isReadable(text)).toBe(false)
  },
)

test('a length counts characters, not UTF-16 units', () => {
  expect(lengthOf('')).toBe(0)
  expect(lengthOf('ACME')).toBe(4)
  expect(lengthOf('né')).toBe(2)
  expect(lengthOf('😀😀')).toBe(2)
  expect(lengthOf('𠮷野家')).toBe(3)
})
