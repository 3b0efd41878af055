/** Control characters, line separators, lone surrogates, and the marks that turn the direction of text about them (Unicode UAX #9). */
const UNSAFE = /[\p{Cc}\p{Cs}\p{Zl}\p{Zp}\u061C\u200E\u200F\u202A-\u202E\u2066-\u2069]/u

/** Whether a text shows as what it is: no control characters, and nothing that makes a payee read as another. */
export function isPlainText(text: string): boolean {
  return !UNSAFE.test(text)
}

/** The length in characters, as PostgreSQL counts them. */
export function lengthOf(text: string): number {
  return [...text].length
}
