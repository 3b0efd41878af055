import anyAscii from 'any-ascii'

/** 3GPP TS 23.038: the default alphabet, then the characters that take two places in a message. */
const GSM_7 =
  '@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !"#¤%&\'()*+,-./0123456789:;<=>?¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà'
const GSM_7_EXTENDED = '^{}\\[~]|€'
/** How many places each character takes. */
const SEPTETS = new Map([
  ...[...GSM_7].map((char) => [char, 1] as const),
  ...[...GSM_7_EXTENDED].map((char) => [char, 2] as const),
])
/** Accents, joiners, selectors and fillers: without Latin letters of their own they show as nothing. */
const INVISIBLE = /[\p{M}\p{Cf}\p{Default_Ignorable_Code_Point}]/u
const CUT = '...'

/** The text with what GSM-7 lacks written in its nearest Latin letters, or as "?" where there are none. Never empty. */
export function toGsm7(text: string): string {
  // Of what transliterations are written with, the default alphabet lacks only the backtick, as in "Hawai`i".
  const latin = (char: string) => anyAscii(char).replaceAll('`', "'") || (INVISIBLE.test(char) ? '' : '?')
  const shown = [...text.normalize('NFC')]
    .flatMap((char) => (SEPTETS.has(char) ? char : [...latin(char)]))
    .map((char) => (SEPTETS.has(char) ? char : '?'))
  return shown.join('') || '?'
}

/** How many places a GSM-7 text takes; a segment has 160. */
export function septets(text: string): number {
  return [...text].reduce((sum, char) => sum + (SEPTETS.get(char) ?? 0), 0)
}

/** The GSM-7 text where it has room, else what fits of it and "...". */
export function fit(text: string, room: number): string {
  if (septets(text) <= room) return text
  let left = room - CUT.length
  let kept = ''
  for (const char of text) {
    left -= septets(char)
    if (left < 0) break
    kept += char
  }
  return kept.trimEnd() + CUT
}
