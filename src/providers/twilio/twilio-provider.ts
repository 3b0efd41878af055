import twilio from 'twilio'
import type { Channel } from '../../domain/challenge.ts'
import type { FailureClass } from '../../domain/delivery.ts'
import { basicAuth, exchange, type HttpAnswer, isAccepted, jsonOf, refusal } from '../http-exchange.ts'
import { keep, type VendorHeaders } from '../proof.ts'
import { type ChallengeMessage, ProviderError, type SignatureProvider, secondsLeft } from '../provider.ts'
import type { WebhookUrl } from '../webhook-url.ts'
import { TWILIO_RETRIES } from './twilio-receipts.ts'
import { TWILIO_SID } from './twilio-sid.ts'

export interface TwilioConfig {
  accountSid: string
  /** What receipts are signed with. Without it none is asked for; it is then an API key that calls are made with. */
  authToken: string | undefined
  /** The token before, which receipts may still be signed with. */
  previousAuthToken: string | undefined
  /** What calls to the API are made with, if not the auth token. */
  apiKey: { sid: string; secret: string } | undefined
  /** Without path, for example https://api.twilio.com. */
  apiUrl: string
  /** For each call. */
  timeoutMs: number
  clock: () => Date
  /** Undefined: Twilio isn't asked to report. */
  webhookUrl: WebhookUrl | undefined
}

/** What one channel does its own way. */
interface TwilioChannel {
  name: string
  channel: Channel
  /** What a code means. */
  meanings: Readonly<Record<string, FailureClass>>
  receiptsPath: string
  /** Returns what the recipient reads or hears, as it is sent to Twilio. */
  text(message: ChallengeMessage, secondsLeft: number): string
  create(
    client: twilio.Twilio,
    message: ChallengeMessage,
    text: string,
    secondsLeft: number,
    callback: { statusCallback?: string },
  ): Promise<{ body: { sid: string } }>
}

interface SdkRequest {
  method: string
  uri: string
  username: string
  password: string
  headers: Record<string, string>
  data?: Record<string, string | string[]>
}

/** https://www.twilio.com/docs/usage/twilios-response */
export const TWILIO_HEADERS: VendorHeaders = {
  requestId: 'twilio-request-id',
  others: ['twilio-request-duration', 'x-home-region', 'x-api-domain'],
  signature: 'x-twilio-signature',
}

/** An adapter over Twilio's REST API, for one of its channels. */
export function createTwilioProvider(
  { accountSid, authToken, apiKey, apiUrl, timeoutMs, clock, webhookUrl }: TwilioConfig,
  { name, channel, meanings, receiptsPath, text, create }: TwilioChannel,
): SignatureProvider {
  const [user, password] = apiKey ? [apiKey.sid, apiKey.secret] : [accountSid, authToken]
  // Receipts that we can't verify would prove nothing.
  const reports = authToken === undefined ? undefined : webhookUrl

  /** The SDK for one call: it has neither a signal nor a base URL, and keeps no answer that it can't read. */
  function sdk(signal: AbortSignal) {
    const seen: { answer?: HttpAnswer } = {}
    const httpClient = {
      async request({ method, uri, username, password, headers, data }: SdkRequest) {
        const { pathname, search } = new URL(uri)
        const init = {
          method: method.toUpperCase(),
          headers: { ...headers, Authorization: basicAuth(username, password) },
          ...(data && { body: formOf(data) }),
        }
        const answer = await exchange(name, apiUrl + pathname + search, init, signal)
        seen.answer = answer
        return { statusCode: answer.status, headers: answer.headers, body: usableBody(answer) }
      },
    }
    // The SDK types its own class here, but calls nothing of it except request().
    const options = { accountSid, httpClient: httpClient as unknown as twilio.RequestClient }
    const client = twilio(user, password, options)
    return { client, seen }
  }

  /** The body of a 2xx with an id in it. Throws for everything else, so that the SDK never puts an answer's text into an error. */
  function usableBody(answer: HttpAnswer): { sid: string } {
    const body = jsonOf(answer)
    if (!isAccepted(answer)) {
      const code = isErrorCode(body.code) ? String(body.code) : undefined
      throw refusal(name, answer, code, meanings)
    }
    if (typeof body.sid !== 'string' || !TWILIO_SID.test(body.sid))
      throw new ProviderError(name, 'UNUSABLE_BODY', 'unproven')
    return { ...body, sid: body.sid }
  }

  return {
    name,
    channel,
    timeoutMs,
    reportsDelivery: reports !== undefined,
    async sendChallenge(message, signal) {
      const { client, seen } = sdk(signal)
      const callback = reports ? { statusCallback: reports(receiptsPath, message) + TWILIO_RETRIES } : {}
      const left = secondsLeft(message)
      const textWith = (code: string) => text({ ...message, code }, left)
      const sent = textWith(message.code)
      const { body } = await create(client, message, sent, left, callback)
      const sentAt = clock()
      if (!seen.answer) throw new Error('the SDK answered without a call')
      const said = {
        message,
        text: sent,
        textWith,
        credentials: password === undefined ? [] : [password],
        headers: TWILIO_HEADERS,
      }
      return { providerChallengeId: body.sid, ...keep(seen.answer, sentAt, said), sentAt }
    },
    async isAvailable(signal) {
      const account = `${apiUrl}/2010-04-01/Accounts/${accountSid}`
      const headers = { Authorization: basicAuth(user, password ?? ''), Accept: 'application/json' }
      // An API key may not read its account (https://www.twilio.com/docs/iam/api-keys/keys-in-console). Our own numbers
      // are the list that shows nothing of customers.
      const url = apiKey ? `${account}/IncomingPhoneNumbers.json?PageSize=1` : `${account}.json`
      return exchange(name, url, { method: 'GET', headers }, signal)
        .then((answer) => isAccepted(answer) && (apiKey !== undefined || jsonOf(answer).status === 'active'))
        .catch(() => false)
    },
  }
}

/** Five digits: https://www.twilio.com/docs/api/errors. A longer number may be a code that is repeated. */
function isErrorCode(code: unknown): boolean {
  return typeof code === 'number' && /^[0-9]{1,5}$/.test(String(code))
}

/** A list is a parameter that comes several times. */
function formOf(data: Record<string, string | string[]>): string {
  const entries = Object.entries(data).flatMap(([name, values]) => [values].flat().map((value) => [name, value]))
  return new URLSearchParams(entries).toString()
}
