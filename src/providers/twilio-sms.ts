import twilio from 'twilio'
import type { FailureClass, ProviderProof } from '../domain/delivery.ts'
import type { HttpAnswer } from './http-exchange.ts'
import { exchange, refusal } from './http-exchange.ts'
import { ProviderError, type SignatureProvider } from './provider.ts'
import { smsText } from './sms-text.ts'

export interface TwilioSmsConfig {
  accountSid: string
  authToken: string
  /** E.164 or an alphanumeric sender id. */
  fromNumber: string
  /** Without path, for example https://api.twilio.com. */
  apiUrl: string
  clock: () => Date
}

const NAME = 'twilio-sms'

/** https://www.twilio.com/docs/api/errors: what a code means where its HTTP status does not tell. */
const MEANING: Record<number, FailureClass> = {
  21211: 'recipient', // not a valid phone number
  21217: 'recipient', // does not appear to be a valid phone number
  21265: 'recipient', // a short code
  21408: 'recipient', // no permission to send to this region
  21610: 'recipient', // has replied STOP
  21612: 'recipient', // not reachable from our number
  21614: 'recipient', // not a mobile number
  21635: 'recipient', // a landline
  21611: 'ours', // our number's queue is full, which no retry within seconds helps, though it comes as a 429
}

/** https://www.twilio.com/docs/glossary/what-is-a-sid */
const SID = /^[A-Z]{2}[0-9a-f]{32}$/

/** Twilio accepts 1 to 36,000 seconds, and by default keeps trying for the longest: 10 hours. */
const MIN_VALIDITY_SECONDS = 1

/** Text messages over Twilio's Messages API: https://www.twilio.com/docs/messaging/api/message-resource */
export function createTwilioSms({
  accountSid,
  authToken,
  fromNumber,
  apiUrl,
  clock,
}: TwilioSmsConfig): SignatureProvider {
  /** The SDK for one call: it has neither a signal nor a base URL, and keeps no answer that it can't read. */
  function sdk(signal: AbortSignal) {
    const seen: { answer?: HttpAnswer } = {}
    const httpClient = {
      async request({ method, uri, username, password, headers, data }: SdkRequest) {
        const { pathname, search } = new URL(uri)
        const answer = await exchange(
          NAME,
          apiUrl + pathname + search,
          {
            method: method.toUpperCase(),
            headers: {
              ...headers,
              Authorization: `Basic ${Buffer.from(`${username}:${password}`).toString('base64')}`,
            },
            ...(data && { body: new URLSearchParams(data).toString() }),
          },
          signal,
        )
        seen.answer = answer
        return { statusCode: answer.status, headers: answer.headers, body: usableBody(answer) }
      },
    }
    // The SDK types its own class here, but calls nothing of it except request().
    const client = twilio(accountSid, authToken, { httpClient: httpClient as unknown as twilio.RequestClient })
    return { client, seen }
  }

  return {
    name: NAME,
    channel: 'SMS',
    async sendChallenge({ phone, code, transaction, locale, expiresAt }, signal) {
      const { client, seen } = sdk(signal)
      const secondsLeft = Math.floor((expiresAt.getTime() - clock().getTime()) / 1_000)
      const { body: message } = await client.messages.createWithHttpInfo({
        to: phone,
        from: fromNumber,
        body: smsText(code, transaction, locale, secondsLeft),
        validityPeriod: Math.max(MIN_VALIDITY_SECONDS, secondsLeft),
      })
      const sentAt = clock()
      if (!seen.answer) throw new Error('the SDK answered without a call')
      return { providerChallengeId: message.sid, providerProof: proofOf(seen.answer, sentAt), sentAt }
    },
    async isAvailable(signal) {
      const { client } = sdk(signal)
      return client.api.v2010
        .accounts(accountSid)
        .fetch()
        .then(({ status }) => status === 'active')
        .catch(() => false)
    },
  }
}

interface SdkRequest {
  method: string
  uri: string
  username: string
  password: string
  headers: Record<string, string>
  data?: Record<string, string>
}

/** The body of a 2xx with an id in it. Throws for everything else, so that the SDK never puts an answer's text into an error. */
function usableBody(answer: HttpAnswer): { sid: string } {
  const body = parseJson(answer.body)
  if (answer.status < 200 || answer.status >= 300) {
    const code = body && 'code' in body && typeof body.code === 'number' ? body.code : undefined
    const meaning = answer.status < 500 && code !== undefined ? MEANING[code] : undefined
    throw meaning ? new ProviderError(NAME, String(code), meaning) : refusal(NAME, answer, code?.toString())
  }
  if (!body || !('sid' in body) || typeof body.sid !== 'string' || !SID.test(body.sid)) {
    throw new ProviderError(NAME, 'UNUSABLE_BODY', 'unproven')
  }
  return { ...body, sid: body.sid }
}

function parseJson(text: string): object | undefined {
  try {
    const value: unknown = JSON.parse(text)
    return typeof value === 'object' && value !== null ? value : undefined
  } catch {
    return undefined
  }
}

function proofOf(answer: HttpAnswer, receivedAt: Date): ProviderProof {
  const signatureHeader = Object.keys(answer.headers).find((name) => name.endsWith('signature'))
  return {
    requestId: answer.headers['twilio-request-id'] ?? null,
    httpStatus: answer.status,
    headers: answer.headers,
    bodySha256: answer.bodySha256,
    signature: signatureHeader ? (answer.headers[signatureHeader] ?? null) : null,
    receivedAt: receivedAt.toISOString(),
  }
}
