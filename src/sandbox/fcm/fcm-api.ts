import { randomBytes } from 'node:crypto'
import type { Dialect, Exchange } from '../dialect.ts'
import { type Answer, isObject } from '../http.ts'
import { pushRefusal } from './fcm-rules.ts'
import type { AccessTokens } from './google-token.ts'

const SUCCESS = { status: 200, type: 'application/json; charset=UTF-8' }
const PATH = /^\/v1\/projects\/([^/]*)\/messages:send$/

/** https://cloud.google.com/apis/design/errors#handling_errors */
const STATUS: Record<number, string> = {
  400: 'INVALID_ARGUMENT',
  401: 'UNAUTHENTICATED',
  403: 'PERMISSION_DENIED',
  404: 'NOT_FOUND',
  429: 'RESOURCE_EXHAUSTED',
  500: 'INTERNAL',
  503: 'UNAVAILABLE',
  504: 'DEADLINE_EXCEEDED',
}

/** FCM's own code for a status: https://firebase.google.com/docs/reference/fcm/rest/v1/ErrorCode */
const FCM_CODE: Record<number, string> = {
  400: 'INVALID_ARGUMENT',
  403: 'SENDER_ID_MISMATCH',
  404: 'UNREGISTERED',
  429: 'QUOTA_EXCEEDED',
  500: 'INTERNAL',
  503: 'UNAVAILABLE',
}

/** FCM's HTTP v1 API, over plain HTTP: https://firebase.google.com/docs/reference/fcm/rest/v1/projects.messages/send */
export function fcmApi(projectId: string, tokens: AccessTokens): Dialect {
  return {
    success: SUCCESS,
    owns: (path) => path.startsWith('/v1/projects/'),
    read({ method, path, authorization, json }) {
      const project = PATH.exec(path)?.[1]
      // Google answers another method on a path of its API as it does an unknown path.
      if (project === undefined || method !== 'POST') return googleError(404, 'NOT_FOUND', 'Not found.')
      const token = /^Bearer +(\S+)$/i.exec(authorization)?.[1]
      if (!token || !tokens.has(token)) {
        const answer = googleError(401, 'UNAUTHENTICATED', 'Request had invalid authentication credentials.')
        return { ...answer, headers: { 'WWW-Authenticate': 'Bearer realm="https://accounts.google.com/"' } }
      }
      const refusal = project === projectId ? refuse(json) : denied(project)
      if (isObject(json) && (json.validate_only === true || json.validateOnly === true)) {
        const body = { name: `projects/${projectId}/messages/fake_message_id` }
        return refusal ?? { ...SUCCESS, body }
      }
      return { target: 'fcm-push', refusal, accept: () => accept(projectId, json as { message: object }) }
    },
    error,
    headers: () => ({}),
  }
}

function accept(projectId: string, { message }: { message: object }): ReturnType<Exchange['accept']> {
  const { token, topic, condition, data = {} } = message as Record<string, unknown>
  const name = `projects/${projectId}/messages/0:${Date.now()}%${randomBytes(8).toString('hex')}`
  return {
    answer: { ...SUCCESS, body: { name } },
    message: {
      sid: name,
      provider: 'fcm-push',
      to: String(token ?? (topic === undefined ? condition : `/topics/${topic}`)),
      from: projectId,
      body: JSON.stringify(data),
      status: 'accepted',
      created_at: new Date().toISOString(),
    },
  }
}

function refuse(json: unknown): Answer | undefined {
  const refusal = pushRefusal(json)
  if (!refusal) return undefined
  const { status = 400, message, fcmCode, field } = refusal
  const details: object[] = fcmCode ? [fcmError(fcmCode)] : []
  if (field) {
    const fieldViolations = [{ field, description: message }]
    details.push({ '@type': 'type.googleapis.com/google.rpc.BadRequest', fieldViolations })
  }
  return googleError(status, STATUS[status] ?? 'UNKNOWN', message, details)
}

function denied(project: string): Answer {
  const resource = `//cloudresourcemanager.googleapis.com/projects/${project}`
  const message = `Permission 'cloudmessaging.messages.create' denied on resource '${resource}' (or it may not exist).`
  return googleError(403, 'PERMISSION_DENIED', message)
}

/** A code may be one of Google's statuses, one of FCM's own, or, as UNAVAILABLE is, both. */
function error(status: number, code: number | string | undefined, message: string): Answer {
  const name = typeof code === 'string' ? code : FCM_CODE[status]
  const isStatus = Object.values(STATUS).includes(name ?? '')
  const isFcmOnly = !isStatus || Object.values(FCM_CODE).includes(name ?? '')
  const details = name && isFcmOnly ? [fcmError(name)] : []
  return googleError(status, isStatus && name ? name : (STATUS[status] ?? 'UNKNOWN'), message, details)
}

function fcmError(errorCode: string): object {
  return { '@type': 'type.googleapis.com/google.firebase.fcm.v1.FcmError', errorCode }
}

function googleError(code: number, status: string, message: string, details: object[] = []): Answer {
  const error = { code, message, status, ...(details.length > 0 && { details }) }
  return { status: code, type: SUCCESS.type, body: { error } }
}
