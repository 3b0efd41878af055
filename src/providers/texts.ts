import { type Amount, currencyDigits, formatAmount, toDecimal } from '../domain/amount.ts'
import type { Transaction } from '../domain/transaction.ts'
import { fit, septets, toGsm7 } from './gsm7.ts'

/** One segment: a text message of two costs twice, and may arrive as two. */
const SMS_SEPTETS = 160
/** As much of a payee as is said; some characters grow long when they are written in Latin letters. */
const SPOKEN_PAYEE_SEPTETS = 140

interface Transfer {
  amount: string
  payee: string
}

interface Texts {
  /** Of the voice: https://www.twilio.com/docs/voice/twiml/say */
  speech: string
  sms(parts: Transfer & { code: string; minutes: number }): string
  /** Said before the digits of the code, before all that is said once more, and last. */
  voice: { ask(transfer: Transfer): string; again: string; end: string }
  /** Holds no code: the app shows that only when it is unlocked. */
  push(transfer: Transfer): string
}

// Amount and payee before the code: what is signed comes before what signs it.
const TEXTS = {
  en: {
    speech: 'en-GB',
    sms: ({ amount, payee, code, minutes }) =>
      `Pay ${amount} to ${payee}? Your code to sign: ${code}. Valid for ${minutes} min. Never share it.`,
    voice: {
      ask: ({ amount, payee }) => `Pay ${amount} to ${payee}? Your code to sign is:`,
      again: 'Once more.',
      end: 'Never share this code. Goodbye.',
    },
    push: ({ amount, payee }) => `Pay ${amount} to ${payee}?`,
  },
  es: {
    speech: 'es-ES',
    sms: ({ amount, payee, code, minutes }) =>
      `Pagar ${amount} a ${payee}. Su clave para firmar: ${code}. Caduca en ${minutes} min. No la comparta.`,
    voice: {
      ask: ({ amount, payee }) => `Pagar ${amount} a ${payee}. Su clave para firmar es:`,
      again: 'Repetimos.',
      end: 'No comparta esta clave. Adiós.',
    },
    push: ({ amount, payee }) => `¿Pagar ${amount} a ${payee}?`,
  },
} satisfies Record<string, Texts>

type Language = keyof typeof TEXTS

/**
 * The text message for a code: GSM-7 only, one segment, in the locale's language or else in English. A payee that does
 * not fit is cut and ends in "..."; amount and code never are.
 */
export function smsText(code: string, transaction: Transaction, locale: string, secondsLeft: number): string {
  const language = languageOf(locale)
  const { sms } = TEXTS[language]
  const parts = {
    amount: formatAmount(transaction.amount, language),
    code,
    minutes: Math.max(1, Math.round(secondsLeft / 60)),
  }
  const room = SMS_SEPTETS - septets(sms({ ...parts, payee: '' }))
  return sms({ ...parts, payee: fit(toGsm7(transaction.payeeName), room) })
}

/**
 * What is said in a call, as TwiML of at most 4,000 characters: amount, payee, then the code digit by digit, all of it
 * twice, in the locale's language or else in English. A long payee is cut; one in other letters is said from Latin ones.
 */
export function voiceTwiml(code: string, transaction: Transaction, locale: string): string {
  const language = languageOf(locale)
  const { speech, voice } = TEXTS[language]
  const say = (text: string) => `<Say language="${speech}">${escapeXml(text)}</Say>`
  const pause = '<Pause length="1"/>'
  const ask = voice.ask({
    amount: spokenAmount(transaction.amount, language),
    payee: fit(toGsm7(transaction.payeeName), SPOKEN_PAYEE_SEPTETS),
  })
  // A verb for each digit: how long a voice rests at a comma differs, and six digits in a row are read as a number.
  const once = [ask, ...code].map(say).join(pause)
  return `<Response>${[once, say(voice.again), once, say(voice.end)].join(pause)}</Response>`
}

/** What the app shows of a transaction, in the locale's language or else in English. The payee is as the caller wrote it. */
export function pushTexts({ amount, payeeName }: Transaction, locale: string): Transfer & { text: string } {
  const language = languageOf(locale)
  const transfer = { amount: formatAmount(amount, language), payee: payeeName }
  return { ...transfer, text: TEXTS[language].push(transfer) }
}

function languageOf(locale: string): Language {
  const { language } = new Intl.Locale(locale)
  return Object.hasOwn(TEXTS, language) ? (language as Language) : 'en'
}

/** With the currency's name: its three letters would be spelled out, or read as a word. */
function spokenAmount(amount: Amount, language: Language): string {
  const digits = currencyDigits(amount.currency) ?? 2
  return new Intl.NumberFormat(language, {
    style: 'currency',
    currency: amount.currency,
    currencyDisplay: 'name',
    minimumFractionDigits: digits,
    maximumFractionDigits: digits,
  }).format(toDecimal(amount) as Intl.StringNumericLiteral)
}

function escapeXml(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;')
}
