import { exchange, type HttpAnswer, isAccepted, isObject, jsonOf, refusal } from '../http-exchange.ts'
import { keep } from '../proof.ts'
import { type ChallengeMessage, ProviderError, type SignatureProvider, secondsLeft } from '../provider.ts'
import { pushTexts } from '../texts.ts'
import { FCM_ERRORS } from './fcm-errors.ts'
import { createAccessTokens } from './google-access-token.ts'
import { type GoogleCredentials, readProjectId } from './google-token-source.ts'

export interface FcmPushConfig {
  credentials: GoogleCredentials
  /** Undefined only with the metadata server, which knows it. */
  projectId: string | undefined
  /** Without path, for example https://fcm.googleapis.com. */
  apiUrl: string
  /** For each call. */
  timeoutMs: number
  clock: () => Date
}

const NAME = 'fcm-push'
const SCOPE = 'https://www.googleapis.com/auth/firebase.messaging'

const CODE = /^[A-Z_]{1,64}$/
/** https://firebase.google.com/docs/reference/fcm/rest/v1/projects.messages#Message */
const MESSAGE_NAME = /^projects\/[!-~]+\/messages\/[!-~]+$/
/** https://firebase.google.com/docs/cloud-messaging/scale-fcm: how long to wait after a 429 that does not say. */
const QUOTA_SECONDS = '60'

/**
 * Push messages over Firebase Cloud Messaging, HTTP v1: https://firebase.google.com/docs/reference/fcm/rest/v1/projects.messages/send
 * On Android they hold data only, so that the system shows nothing of them: the app does. On iOS the system shows the
 * question without the code, as Apple delivers data alone when it pleases. The app shows the code when it is unlocked.
 */
export function createFcmPush({ credentials, projectId, apiUrl, timeoutMs, clock }: FcmPushConfig): SignatureProvider {
  const tokens = createAccessTokens({ provider: NAME, credentials, scope: SCOPE, timeoutMs, clock })
  let project = projectId

  async function send(body: string, signal: AbortSignal): Promise<{ answer: HttpAnswer; token: string }> {
    const token = await tokens.get(signal)
    const init = {
      method: 'POST',
      headers: { Authorization: `Bearer ${token}`, 'Content-Type': 'application/json' },
      body,
    }
    project ??= await readProjectId(NAME, credentials, signal)
    const answer = await exchange(NAME, `${apiUrl}/v1/projects/${project}/messages:send`, init, signal)
    // Tokens can end before their time: the next call gets another.
    if (answer.status === 401) tokens.forget(token)
    return { answer, token }
  }

  return {
    name: NAME,
    channel: 'PUSH',
    timeoutMs,
    reportsDelivery: false,
    async sendChallenge(message, signal) {
      const { pushToken } = message
      if (!pushToken) throw new ProviderError(NAME, 'NO_PUSH_TOKEN', 'recipient')
      const left = secondsLeft(message)
      const textWith = (code: string) => JSON.stringify({ message: pushMessage({ ...message, code }, pushToken, left) })
      const text = textWith(message.code)
      const { answer, token } = await send(text, signal)
      const { name } = jsonOf(answer)
      if (!isAccepted(answer)) throw fcmRefusal(answer)
      if (typeof name !== 'string' || !MESSAGE_NAME.test(name)) {
        throw new ProviderError(NAME, 'UNUSABLE_BODY', 'unproven')
      }
      const sentAt = clock()
      const said = { message, text, textWith, credentials: [token] }
      return { providerChallengeId: name, ...keep(answer, sentAt, said), sentAt }
    },
    async isAvailable(signal) {
      return send(JSON.stringify({ validate_only: true, message: { topic: 'availability' } }), signal).then(
        ({ answer }) => isAccepted(answer),
        () => false,
      )
    },
  }
}

/** https://firebase.google.com/docs/reference/fcm/rest/v1/projects.messages#Message; every value of data is text. */
function pushMessage(message: ChallengeMessage, token: string, secondsLeft: number) {
  const { signatureId, challengeId, code, transaction, locale, expiresAt } = message
  const texts = pushTexts(transaction, locale)
  return {
    token,
    data: {
      signature_id: signatureId,
      challenge_id: challengeId,
      ...texts,
      code,
      expires_at: expiresAt.toISOString(),
    },
    android: { priority: 'HIGH', ttl: `${secondsLeft}s` },
    apns: {
      // https://developer.apple.com/documentation/usernotifications/sending-notification-requests-to-apns
      headers: {
        'apns-push-type': 'alert',
        'apns-priority': '10',
        'apns-expiration': String(Math.floor(expiresAt.getTime() / 1_000)),
      },
      // Mutable: the app's notification service extension gets the data before it is shown.
      payload: { aps: { alert: { body: texts.text }, 'mutable-content': 1 } },
    },
  }
}

function fcmRefusal(answer: HttpAnswer): ProviderError {
  const { code, isAboutToken } = fcmError(answer)
  // Of our credentials only the access token changes, and it is forgotten: trying again may well succeed.
  if (answer.status === 401 && code !== 'THIRD_PARTY_AUTH_ERROR') {
    return new ProviderError(NAME, code ?? 'HTTP_401', 'transient')
  }
  const meanings = isAboutToken ? { ...FCM_ERRORS, INVALID_ARGUMENT: 'recipient' as const } : FCM_ERRORS
  const headers = answer.status === 429 ? { 'retry-after': QUOTA_SECONDS, ...answer.headers } : answer.headers
  return refusal(NAME, { ...answer, headers }, code, meanings)
}

/**
 * https://firebase.google.com/docs/cloud-messaging/error-codes: an invalid argument with an FcmError is the registration
 * token, one with a BadRequest is the field that it names.
 */
function fcmError(answer: HttpAnswer): { code: string | undefined; isAboutToken: boolean } {
  const { error } = jsonOf(answer)
  if (!isObject(error)) return { code: undefined, isAboutToken: false }
  const details = Array.isArray(error.details) ? error.details.filter(isObject) : []
  const fields = details.flatMap(({ fieldViolations }) => (Array.isArray(fieldViolations) ? fieldViolations : []))
  const errorCode = details.map(({ errorCode }) => errorCode).find((code) => typeof code === 'string')
  const code = errorCode ?? error.status
  return {
    code: typeof code === 'string' && CODE.test(code) ? code : undefined,
    isAboutToken: fields.length > 0 ? fields.every((field) => isTokenField(field)) : errorCode !== undefined,
  }
}

function isTokenField(violation: unknown): boolean {
  return isObject(violation) && violation.field === 'message.token'
}
