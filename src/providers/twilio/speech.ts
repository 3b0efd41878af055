import { type Amount, currencyDigits, toDecimal } from '../../domain/amount.ts'
import type { Spoken } from '../../domain/receipt.ts'
import type { Transaction } from '../../domain/transaction.ts'
import { fit, toGsm7 } from '../gsm7.ts'
import { type Language, languageOf } from '../language.ts'
import { disarm, lastFour } from '../payee.ts'

/** As much of a payee as is said; some characters grow long when they are written in Latin letters. */
const PAYEE_SEPTETS = 140
/** How long a call waits for a key once all is said. */
const KEY_SECONDS = 10

interface Speech {
  /** https://www.twilio.com/docs/voice/twiml/say */
  voice: string
  /** Said before the payee's name, which has pauses around it so that nobody takes its words for the bank's, and after it. */
  pay(amount: string): string
  account(lastFour: string): string
  /** Said last in what asks for the key, before the code, before all that is said once more, and before the call ends. */
  press: string
  code: string
  again: string
  end: string
}

const SPEECH: Record<Language, Speech> = {
  en: {
    voice: 'en-GB',
    pay: (amount) => `Pay ${amount} to the payee named:`,
    account: (lastFour) => `Account ending in ${lastFour}.`,
    press: 'Press 1 to hear your code.',
    code: 'Your code to sign is:',
    again: 'Once more.',
    end: 'Never share this code. Goodbye.',
  },
  es: {
    voice: 'es-ES',
    pay: (amount) => `Pagar ${amount} al beneficiario llamado:`,
    account: (lastFour) => `Cuenta terminada en ${lastFour}.`,
    press: 'Pulse 1 para oír su clave.',
    code: 'Su clave para firmar es:',
    again: 'Repetimos.',
    end: 'No comparta esta clave. Adiós.',
  },
}

/**
 * What a call begins with, as TwiML of at most 4,000 characters: amount and payee, and to press 1, all of it twice, in the
 * locale's language or else in English. Twilio posts the pressed key to `keysUrl` and goes on with the answer; without a key the
 * call ends.
 */
export function callTwiml(transaction: Transaction, locale: string, keysUrl: string): string {
  const { voice, press, again } = SPEECH[languageOf(locale)]
  const once = [...transfer(transaction, locale), press]
  const asked = say(voice, [...once, again, ...once])
  return `<Response><Gather numDigits="1" timeout="${KEY_SECONDS}" action="${escapeXml(keysUrl)}">${asked}</Gather></Response>`
}

/**
 * What a call goes on with, as TwiML: amount and payee once more, as they may have been cut short by the key, then the code
 * digit by digit, all of it twice. With nothing to say the call ends.
 */
export function spokenTwiml(spoken: Spoken | undefined): string {
  if (!spoken) return '<Response><Hangup/></Response>'
  const { voice, code, again, end } = SPEECH[languageOf(spoken.locale)]
  // A verb for each digit: how long a voice rests at a comma differs, and six digits in a row are read as a number.
  const once = [...transfer(spoken.transaction, spoken.locale), code, ...spoken.code]
  return `<Response>${say(voice, [...once, again, ...once, end])}</Response>`
}

/** What is paid to whom; a payee in other letters is said from Latin ones, and a long one not to its end. */
function transfer({ amount, payeeName, payeeAccount }: Transaction, locale: string): string[] {
  const { voice, pay, account } = SPEECH[languageOf(locale)]
  return [
    pay(spokenAmount(amount, voice)),
    fit(disarm(toGsm7(payeeName)), PAYEE_SEPTETS),
    account([...lastFour(payeeAccount)].join(' ')),
  ]
}

function say(voice: string, texts: string[]): string {
  return texts.map((text) => `<Say language="${voice}">${escapeXml(text)}</Say>`).join('<Pause length="1"/>')
}

/**
 * With the currency's name: its three letters would be spelled out, or read as a word. Written as the voice's own region
 * does, since it is the voice that reads the points and commas.
 */
function spokenAmount(amount: Amount, voice: string): string {
  const digits = currencyDigits(amount.currency) ?? 2
  return new Intl.NumberFormat(voice, {
    style: 'currency',
    currency: amount.currency,
    currencyDisplay: 'name',
    minimumFractionDigits: digits,
    maximumFractionDigits: digits,
  }).format(toDecimal(amount) as Intl.StringNumericLiteral)
}

function escapeXml(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;').replaceAll('"', '&quot;')
}
