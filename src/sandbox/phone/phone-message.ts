import type { SimulatedMessage } from '../dialect.ts'
import { PROVIDERS } from '../simulated-vendors.ts'

/** A message as the phone shows it. */
export interface Shown {
  kind: string
  /** What is read or heard, the code in it. */
  text: string
  /** As it stands in the text. */
  code: string | undefined
  tone: 'good' | 'bad' | 'open'
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

/** Returns what the phone shows of a message. */
export function shown({ provider, body, status }: SimulatedMessage): Shown {
  const { kind = '', shows } = PROVIDERS.get(provider) ?? {}
  const text = shows?.(body) ?? body
  // The last one: the payee, whose name may be made of digits, comes before the code.
  const code = text.match(CODE)?.at(-1)
  // A call that ended without a code: no key was pressed.
  const tone = status === 'completed' && !code ? 'bad' : (TONES[status] ?? 'open')
  return { kind, text, code, tone }
}
