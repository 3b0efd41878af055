import type { ProviderResult } from '../domain/delivery.ts'
import type { HttpAnswer } from './http-exchange.ts'
import type { ChallengeMessage } from './provider.ts'

/** What a call sent to a provider, and the answer may repeat. */
interface Said {
  message: ChallengeMessage
  /** The text that was sent. */
  text: string
  /** The same text as it reads with this code. */
  textWith: (code: string) => string
  /** What the call was authorized with, in clear. */
  credentials: string[]
  /** The headers in which this vendor, and no other, names the exchange or signs. */
  headers?: VendorHeaders
}

/** Headers that only one vendor sends. */
export interface VendorHeaders {
  /** Holds the vendor's id of the exchange, where another header than the usual ones does. */
  requestId?: string
  /** Others that name the exchange. */
  others: readonly string[]
  /** Holds a signature over the answer. */
  signature?: string
}

/** Stands for the code in what is kept. As long as a code, so that a payee is cut at the same place. */
const BLANK = '######'
const MAX_BODY_BYTES = 16 * 1_024

/**
 * The headers that are kept beside those that name the exchange: who answered, and when. No digest of the body (ETag,
 * Content-Digest, Content-MD5): the code would be found from it.
 */
const HEADERS = ['content-type', 'date', 'server', 'x-correlation-id']
const REQUEST_IDS = ['x-request-id', 'request-id']
const MAX_HEADER_CHARACTERS = 256

/** Kept sealed only: anyone who can verify a signature over the answer can try codes against it, and a JWS may hold a plain hash. */
const SIGNATURES = ['signature', 'signature-input', 'x-signature']
const MAX_SIGNATURE_CHARACTERS = 2_048

/** This many last digits of a phone number are unlikely to be in any other number of ours. */
const TELLING_DIGITS = 7

/**
 * Returns what is kept of an answer to prove that a provider took a message: in clear nothing that the call said, and to be
 * sealed the answer itself, with ###### in the place of the code. A header that repeats a part of the call is left out.
 */
export function keep(
  { status, headers, body }: HttpAnswer,
  receivedAt: Date,
  { message, text, textWith, credentials, headers: own = { others: [] } }: Said,
): Pick<ProviderResult, 'providerProof' | 'answer'> {
  const { code, phone, pushToken } = message
  const secrets = [...credentials.map(exactly), digits(code)]
  const personal = [digits(phone.slice(-TELLING_DIGITS)), ...(pushToken === undefined ? [] : [exactly(pushToken)])]

  const pick = (names: string[], characters: number) =>
    Object.fromEntries(
      names.flatMap((name) => {
        const value = headers[name]
        if (value === undefined || holds(value, [...secrets, ...personal])) return []
        return [[name, value.slice(0, characters)] as const]
      }),
    )
  const requestIds = [...(own.requestId ? [own.requestId] : []), ...REQUEST_IDS]
  const signatures = [...SIGNATURES, ...(own.signature ? [own.signature] : [])]
  const kept = pick([...requestIds, ...HEADERS, ...own.others], MAX_HEADER_CHARACTERS)
  const blanked = replaceText(body, text, textWith(BLANK))
  const isKept = Buffer.byteLength(body) <= MAX_BODY_BYTES && !holds(blanked, secrets)
  return {
    providerProof: {
      requestId: requestIds.map((name) => kept[name]).find((id) => id !== undefined) ?? null,
      httpStatus: status,
      headers: kept,
      receivedAt: receivedAt.toISOString(),
    },
    answer: {
      status,
      headers: { ...kept, ...pick(signatures, MAX_SIGNATURE_CHARACTERS) },
      ...(isKept && { body: blanked }),
    },
  }
}

/** Replaces a text in every string of a JSON document, however it is escaped there; all else stays as it is. */
function replaceText(json: string, text: string, replacement: string): string {
  return json.replaceAll(/"(?:[^"\\]|\\.)*"/g, (literal) => {
    const value: string = JSON.parse(literal)
    return value.includes(text) ? JSON.stringify(value.replaceAll(text, () => replacement)) : literal
  })
}

function exactly(secret: string): RegExp {
  return new RegExp(RegExp.escape(secret))
}

/** Digits in a row, also where something stands between them ("012 345", "0-1-2-3-4-5"). */
function digits(row: string): RegExp {
  return new RegExp([...row].join('[^0-9A-Za-z]{0,3}'))
}

/** True if a text has one of these in it: as it is, without its tags, or behind escapes, percent signs, base64 or hexadecimal. */
function holds(text: string, secrets: RegExp[]): boolean {
  const plain = text.replaceAll(/(?:\\u00|%|&#x)([0-9a-f]{2})/gi, (_, hex) =>
    Buffer.from(hex, 'hex').toString('latin1'),
  )
  const encoded = (text.match(/[\w+/-]{8,}/g) ?? []).flatMap((run) => [
    Buffer.from(run, 'base64').toString('latin1'),
    Buffer.from(run, 'hex').toString('latin1'),
  ])
  const readings = [text, plain, plain.replaceAll(/<[^<>]*>/g, ''), ...encoded]
  return readings.some((reading) => secrets.some((secret) => secret.test(reading)))
}
