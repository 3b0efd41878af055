/**
 * Control characters, line separators, lone surrogates, and formatting that can't be seen, such as the marks that turn
 * the direction of text about them (Unicode UAX #9). The two joiners are part of how some scripts are written.
 */
const UNSAFE = /[\p{Cc}\p{Cs}\p{Zl}\p{Zp}]|(?![\u200C\u200D])\p{Cf}/u

/** True if a text has no control characters, and nothing invisible that could make a payee read as another. */
export function isPlainText(text: string): boolean {
  return !UNSAFE.test(text)
}

/** What stands for a letter or a digit that can be seen: Unicode has blank letters, such as the Hangul filler. */
const SEEN = /(?!\p{Default_Ignorable_Code_Point})[\p{L}\p{N}]/u

/** True if there is something to read in a text: a letter or a digit that shows. */
export function isReadable(text: string): boolean {
  return SEEN.test(text)
}

/** Returns the length in characters, as PostgreSQL counts them. */
export function lengthOf(text: string): number {
  return [...text].length
}
