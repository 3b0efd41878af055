import { type Amount, formatAmount } from '../domain/amount.ts'
import type { Transaction } from '../domain/transaction.ts'
import { fit, septets, toGsm7 } from './gsm7.ts'
import { type Language, languageOf } from './language.ts'
import { disarm, lastFour } from './payee.ts'

/** One segment: a text message of two costs twice, and may arrive as two. */
const SMS_SEPTETS = 160
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
  sms(parts: Transfer & { code: string; validity: string }): string
  /** Holds no code: the app shows that only when it is unlocked. */
  push(transfer: Transfer): string
}

// Amount and payee before the code: what is signed comes before what signs it. The payee stands in quotation marks, so that
// nobody takes its words for the bank's.
const TEXTS: Record<Language, Texts> = {
  en: {
    sms: ({ amount, payee, account, code, validity }) =>
      `Pay ${amount} to "${payee}", account ...${account}? Your code to sign: ${code}. Valid for ${validity}. Never share it.`,
    push: ({ amount, payee, account }) => `Pay ${amount} to "${payee}", account ...${account}?`,
  },
  es: {
    sms: ({ amount, payee, account, code, validity }) =>
      `Pagar ${amount} a "${payee}", cuenta ...${account}. Su clave para firmar: ${code}. Caduca en ${validity}. No la comparta.`,
    push: ({ amount, payee, account }) => `¿Pagar ${amount} a "${payee}", cuenta ...${account}?`,
  },
}

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
