import type { SimulatedMessage, SimulatedProvider } from '../dialect.ts'
import { isObject, parseJson } from '../http.ts'

/** What somebody who holds the phone gets of a message. */
export interface Shown {
  kind: string
  /** What is read or heard, the code in it. */
  text: string
  /** As it stands in the text. */
  code: string | undefined
  tone: 'good' | 'bad' | 'open'
}

const KIND: Record<SimulatedProvider, string> = {
  'twilio-sms': 'Text message',
  'vonage-sms': 'Text message',
  'twilio-voice': 'Call',
  'fcm-push': 'Push',
}

/** As the vendors name the ends: delivered, completed and read are Twilio's and Vonage's good ones. */
const TONES: Record<string, Shown['tone']> = {
  delivered: 'good',
  completed: 'good',
  read: 'good',
  undelivered: 'bad',
  undeliverable: 'bad',
  failed: 'bad',
  rejected: 'bad',
  expired: 'bad',
  busy: 'bad',
  'no-answer': 'bad',
  canceled: 'bad',
}

/** Six digits, or, as a voice says them, six with spaces between. */
const CODE = /(?<!\d)(?:\d{6}|\d(?: \d){5})(?!\d)/g

/** What a message shows; a push what the app shows of it once it is unlocked. */
export function shown({ provider, body, status }: SimulatedMessage): Shown {
  const text = provider === 'fcm-push' ? pushText(body) : body
  // The last one: the payee, whose name may be made of digits, comes before the code.
  const code = text.match(CODE)?.at(-1)
  // A call that is over has told its code, or nobody wanted to hear it.
  const tone = status === 'completed' && !code ? 'bad' : (TONES[status] ?? 'open')
  return { kind: KIND[provider], text, code, tone }
}

/** Data without a text is another app's: it is shown as it is. */
function pushText(body: string): string {
  const data = parseJson(body)
  if (!isObject(data) || typeof data.text !== 'string') return body
  return typeof data.code === 'string' ? `${data.text}\nCode: ${data.code}` : data.text
}
