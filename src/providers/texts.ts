import { type Amount, currencyDigits, formatAmount, toDecimal } from '../domain/amount.ts'
import type { Transaction } from '../domain/transaction.ts'
import { fit, septets, toGsm7 } from './gsm7.ts'
import { disarm, lastFour } from './payee.ts'

/** One segment: a text message of two costs twice, and may arrive as two. */
const SMS_SEPTETS = 160
/** As much of a payee as is said; some characters grow long when they are written in Latin letters. */
const SPOKEN_PAYEE_SEPTETS = 140
/** As many as the API takes; in NFKC one character may become eighteen. */
const PUSH_PAYEE_CHARACTERS = 140
/** A code that lives for less than two minutes says so in seconds. */
const MIN_SECONDS_IN_MINUTES = 120

interface Transfer {
  amount: string
  payee: string
  /** The last four letters and digits of the payee's account. */
  account: string
}

interface Texts {
  /** Of the voice: https://www.twilio.com/docs/voice/twiml/say */
  speech: string
  sms(parts: Transfer & { code: string; validity: string }): string
  /** Said before the digits of the code, before all that is said once more, and last. */
  voice: { ask(transfer: Transfer): string; again: string; end: string }
  /** Holds no code: the app shows that only when it is unlocked. */
  push(transfer: Transfer): string
}

// Amount and payee before the code: what is signed comes before what signs it. The payee stands in quotation marks, so that
// nobody takes its words for the bank's.
const TEXTS = {
  en: {
    speech: 'en-GB',
    sms: ({ amount, payee, account, code, validity }) =>
      `Pay ${amount} to "${payee}", account ...${account}? Your code to sign: ${code}. Valid for ${validity}. Never share it.`,
    voice: {
      ask: ({ amount, payee, account }) =>
        `Pay ${amount} to "${payee}", account ending in ${account}? Your code to sign is:`,
      again: 'Once more.',
      end: 'Never share this code. Goodbye.',
    },
    push: ({ amount, payee, account }) => `Pay ${amount} to "${payee}", account ...${account}?`,
  },
  es: {
    speech: 'es-ES',
    sms: ({ amount, payee, account, code, validity }) =>
      `Pagar ${amount} a "${payee}", cuenta ...${account}. Su clave para firmar: ${code}. Caduca en ${validity}. No la comparta.`,
    voice: {
      ask: ({ amount, payee, account }) =>
        `Pagar ${amount} a "${payee}", cuenta terminada en ${account}. Su clave para firmar es:`,
      again: 'Repetimos.',
      end: 'No comparta esta clave. Adiós.',
    },
    push: ({ amount, payee, account }) => `¿Pagar ${amount} a "${payee}", cuenta ...${account}?`,
  },
} satisfies Record<string, Texts>

type Language = keyof typeof TEXTS

/**
 * The text message for a code of any six characters: GSM-7 only, one segment, in the locale's language or else in English,
 * with one run of six digits at most, the code. A payee that does not fit is cut and ends in "..."; amount, account and code
 * never are.
 */
export function smsText(code: string, transaction: Transaction, locale: string, secondsLeft: number): string {
  const { sms } = TEXTS[languageOf(locale)]
  const parts = {
    amount: toGsm7(writtenAmount(transaction.amount, locale)),
    account: lastFour(transaction.payeeAccount),
    code,
    validity: validity(secondsLeft),
  }
  const room = SMS_SEPTETS - septets(sms({ ...parts, payee: '' }))
  return sms({ ...parts, payee: fit(disarm(toGsm7(transaction.payeeName)), room) })
}

/**
 * What is said in a call, as TwiML of at most 4,000 characters: amount, payee, then the code digit by digit, all of it
 * twice, in the locale's language or else in English. A long payee is cut; one in other letters is said from Latin ones.
 */
export function voiceTwiml(code: string, transaction: Transaction, locale: string): string {
  const { speech, voice } = TEXTS[languageOf(locale)]
  const say = (text: string) => `<Say language="${speech}">${escapeXml(text)}</Say>`
  const pause = '<Pause length="1"/>'
  const ask = voice.ask({
    amount: spokenAmount(transaction.amount, speech),
    payee: fit(disarm(toGsm7(transaction.payeeName)), SPOKEN_PAYEE_SEPTETS),
    account: [...lastFour(transaction.payeeAccount)].join(' '),
  })
  // A verb for each digit: how long a voice rests at a comma differs, and six digits in a row are read as a number.
  const once = [ask, ...code].map(say).join(pause)
  return `<Response>${[once, say(voice.again), once, say(voice.end)].join(pause)}</Response>`
}

/**
 * What the app shows of a transaction, in the locale's language or else in English. The payee is in its own letters, and
 * disarmed here too: an app may make links of what it shows.
 */
export function pushTexts(transaction: Transaction, locale: string): Transfer & { text: string } {
  const payee = [...disarm(transaction.payeeName.normalize('NFKC'))]
  const transfer = {
    amount: writtenAmount(transaction.amount, locale),
    payee:
      payee.length > PUSH_PAYEE_CHARACTERS ? `${payee.slice(0, PUSH_PAYEE_CHARACTERS).join('')}...` : payee.join(''),
    account: lastFour(transaction.payeeAccount),
  }
  return { ...transfer, text: TEXTS[languageOf(locale)].push(transfer) }
}

function languageOf(locale: string): Language {
  const { language } = new Intl.Locale(locale)
  return Object.hasOwn(TEXTS, language) ? (language as Language) : 'en'
}

/** As people of the locale's region write it: in Mexico not as in Spain. */
function writtenAmount(amount: Amount, locale: string): string {
  const { region } = new Intl.Locale(locale)
  const language = languageOf(locale)
  return formatAmount(amount, region ? `${language}-${region}` : language)
}

/** Never more than the code has. */
function validity(secondsLeft: number): string {
  return secondsLeft < MIN_SECONDS_IN_MINUTES ? `${Math.floor(secondsLeft)} s` : `${Math.floor(secondsLeft / 60)} min`
}

/**
 * With the currency's name: its three letters would be spelled out, or read as a word. Written as the voice's own region
 * does, since it is the voice that reads the points and commas.
 */
function spokenAmount(amount: Amount, speech: string): string {
  const digits = currencyDigits(amount.currency) ?? 2
  return new Intl.NumberFormat(speech, {
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
