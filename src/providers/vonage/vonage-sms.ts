import { basicAuth, exchange, type HttpAnswer, isAccepted, jsonOf, refusal } from '../http-exchange.ts'
import { keep } from '../proof.ts'
import { ProviderError, type SignatureProvider, secondsLeft } from '../provider.ts'
import { smsText } from '../texts.ts'
import type { WebhookUrl } from '../webhook-url.ts'
import { VONAGE_ERRORS } from './vonage-errors.ts'
import { MESSAGE_UUID, VONAGE_MESSAGES_PATH, vonageReference } from './vonage-receipts.ts'

export interface VonageSmsConfig {
  apiKey: string
  apiSecret: string
  /** What receipts are signed with. Without it none is asked for. */
  signatureSecret: string | undefined
  /** E.164 or an alphanumeric sender id. */
  from: string
  /** Without path, for example https://api.nexmo.com. */
  apiUrl: string
  /** For each call. */
  timeoutMs: number
  clock: () => Date
  /** Undefined: Vonage isn't asked to report. */
  webhookUrl: WebhookUrl | undefined
}

const NAME = 'vonage-sms'

/** RFC 7807 has a URL there; Vonage's code is its fragment. */
const CODE = /#([0-9]{4}|[a-z-]{1,40})$/

/** Vonage accepts 20 to 604,800 seconds, and by default keeps trying for 72 hours. */
const MIN_TTL_SECONDS = 20

/** Text messages over Vonage's Messages API, version 1: https://developer.vonage.com/en/api/messages */
export function createVonageSms({
  apiKey,
  apiSecret,
  signatureSecret,
  from,
  apiUrl,
  timeoutMs,
  clock,
  webhookUrl,
}: VonageSmsConfig): SignatureProvider {
  const headers = { Authorization: basicAuth(apiKey, apiSecret), Accept: 'application/json' }

  // Receipts that we can't verify would prove nothing.
  const reports = signatureSecret === undefined ? undefined : webhookUrl

  return {
    name: NAME,
    channel: 'SMS',
    timeoutMs,
    reportsDelivery: reports !== undefined,
    async sendChallenge(message, signal) {
      const { phone, code, transaction, locale } = message
      const left = secondsLeft(message)
      const textWith = (code: string) => smsText(code, transaction, locale, left)
      const sent = textWith(code)
      const body = {
        message_type: 'text',
        channel: 'sms',
        to: withoutPlus(phone),
        from: withoutPlus(from),
        text: sent,
        ttl: Math.max(MIN_TTL_SECONDS, left),
        client_ref: vonageReference(message),
        ...(reports && { webhook_url: reports(VONAGE_MESSAGES_PATH, message) }),
        sms: { encoding_type: 'text' },
      }
      const answer = await exchange(
        NAME,
        `${apiUrl}/v1/messages`,
        { method: 'POST', headers: { ...headers, 'Content-Type': 'application/json' }, body: JSON.stringify(body) },
        signal,
      )
      const providerChallengeId = messageUuid(answer)
      const sentAt = clock()
      const said = {
        message,
        text: sent,
        textWith,
        credentials: [apiSecret],
        headers: { others: ['x-nexmo-trace-id'] },
      }
      return { providerChallengeId, ...keep(answer, sentAt, said), sentAt }
    },
    async isAvailable(signal) {
      const url = `${accountUrl(apiUrl)}/account/get-balance`
      return exchange(NAME, url, { method: 'GET', headers }, signal)
        .then((answer) => isAccepted(answer) && Number(jsonOf(answer).value) > 0)
        .catch(() => false)
    },
  }
}

/**
 * Returns the base URL that reports the account's balance: for Vonage's own hosts, of every region, another host than the one
 * that takes messages (https://developer.vonage.com/en/account/code-snippets/account-balance); for any other host, `apiUrl`.
 */
export function accountUrl(apiUrl: string): string {
  return /\.(nexmo|vonage)\.com$/.test(new URL(apiUrl).hostname) ? 'https://rest.nexmo.com' : apiUrl
}

function messageUuid(answer: HttpAnswer): string {
  const { message_uuid: id, type } = jsonOf(answer)
  if (!isAccepted(answer)) {
    const code = typeof type === 'string' ? CODE.exec(type)?.[1] : undefined
    throw refusal(NAME, answer, code, VONAGE_ERRORS)
  }
  if (typeof id !== 'string' || !MESSAGE_UUID.test(id)) throw new ProviderError(NAME, 'UNUSABLE_BODY', 'unproven')
  return id
}

/** https://developer.vonage.com/en/api/messages: "don't use a leading + or 00". */
function withoutPlus(number: string): string {
  return number.replace(/^\+/, '')
}
