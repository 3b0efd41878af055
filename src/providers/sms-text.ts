import anyAscii from 'any-ascii'
import { formatAmount } from '../domain/amount.ts'
import type { Transaction } from '../domain/transaction.ts'

/** GSM 03.38: one segment holds 160 characters of this alphabet; anything outside it would halve that and more. */
const SEGMENT = 160
const GSM_7 =
  '@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !"#¤%&\'()*+,-./0123456789:;<=>?¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà'
const GSM_7_EXTENDED = '^{}\\[~]|€'
/** How many places each character takes. */
const SEPTETS = new Map([
  ...[...GSM_7].map((char) => [char, 1] as const),
  ...[...GSM_7_EXTENDED].map((char) => [char, 2] as const),
])
/** Accents, joiners and selectors: without Latin letters of their own they show as nothing. */
const INVISIBLE = /[\p{M}\p{Cf}]/u
const CUT = '...'

interface Text {
  amount: string
  payee: string
  code: string
  minutes: number
}

// Amount and payee before the code: what is signed is read before what signs it.
const TEXTS = {
  en: ({ amount, payee, code, minutes }: Text) =>
    `Pay ${amount} to ${payee}? Your code to sign: ${code}. Valid for ${minutes} min. Never share it.`,
  es: ({ amount, payee, code, minutes }: Text) =>
    `Pagar ${amount} a ${payee}. Su clave para firmar: ${code}. Caduca en ${minutes} min. No la comparta.`,
}

/**
 * The text message for a code: GSM-7 only, one segment, in the locale's language or else in English. A payee that does
 * not fit is cut and ends in "..."; amount and code never are.
 */
export function smsText(code: string, transaction: Transaction, locale: string, secondsLeft: number): string {
  const language = languageOf(locale)
  const text = TEXTS[language]
  const parts = {
    amount: formatAmount(transaction.amount, language),
    code,
    minutes: Math.max(1, Math.round(secondsLeft / 60)),
  }
  const room = SEGMENT - septets(text({ ...parts, payee: '' }))
  return text({ ...parts, payee: fit(toGsm7(transaction.payeeName), room) })
}

function languageOf(locale: string): keyof typeof TEXTS {
  const { language } = new Intl.Locale(locale)
  return Object.hasOwn(TEXTS, language) ? (language as keyof typeof TEXTS) : 'en'
}

/** The text with what GSM-7 lacks written in its nearest Latin letters, or as "?" where there are none. */
function toGsm7(text: string): string {
  const latin = (char: string) => anyAscii(char) || (INVISIBLE.test(char) ? '' : '?')
  const shown = [...text.normalize('NFC')]
    .flatMap((char) => (SEPTETS.has(char) ? char : [...latin(char)]))
    .map((char) => (SEPTETS.has(char) ? char : '?'))
  return shown.join('') || '?'
}

function septets(text: string): number {
  return [...text].reduce((sum, char) => sum + (SEPTETS.get(char) ?? 0), 0)
}

function fit(text: string, room: number): string {
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
