import { isObject } from '../http.ts'

/** Why FCM would not send; the status is 400 by default. */
export interface PushRefusal {
  status?: number
  message: string
  fcmCode?: string
  field?: string
}

const REQUEST_KEYS = ['validate_only', 'validateOnly', 'message']
/** https://firebase.google.com/docs/reference/fcm/rest/v1/projects.messages */
const MESSAGE_KEYS = ['name', 'data', 'notification', 'android', 'webpush', 'apns', 'fcm_options', 'fcmOptions']
const TARGETS = ['token', 'topic', 'condition']
const RESERVED = /^(?:from$|message_type$|google|gcm)/
/** 28 days. */
const MAX_TTL_SECONDS = 2_419_200

/** What FCM says of a registration token by how it begins; what it begins with is ours. */
const TOKENS: [prefix: string, refusal: PushRefusal][] = [
  ['unregistered', { status: 404, message: 'Requested entity was not found.', fcmCode: 'UNREGISTERED' }],
  [
    'invalid',
    {
      message: 'The registration token is not a valid FCM registration token',
      fcmCode: 'INVALID_ARGUMENT',
      field: 'message.token',
    },
  ],
  ['mismatch', { status: 403, message: 'SenderId mismatch', fcmCode: 'SENDER_ID_MISMATCH' }],
]

/** What FCM would refuse in this request, if anything: https://firebase.google.com/docs/reference/fcm/rest/v1/ErrorCode */
export function pushRefusal(json: unknown): PushRefusal | undefined {
  if (!isObject(json)) return { message: 'Invalid JSON payload received.' }
  const { message } = json
  if (!isObject(message)) {
    return { message: 'Recipient of the message is not set.', fcmCode: 'INVALID_ARGUMENT', field: 'message' }
  }
  return (
    unknownKey(json, REQUEST_KEYS, '') ??
    unknownKey(message, [...MESSAGE_KEYS, ...TARGETS], 'message') ??
    targetRefusal(message) ??
    dataRefusal(message) ??
    androidRefusal(message.android) ??
    apnsRefusal(message.apns) ??
    TOKENS.find(([prefix]) => String(message.token).startsWith(prefix))?.[1]
  )
}

function unknownKey(value: object, known: string[], field: string): PushRefusal | undefined {
  const key = Object.keys(value).find((name) => !known.includes(name))
  if (key === undefined) return undefined
  const at = field && ` at '${field}'`
  return { message: `Invalid JSON payload received. Unknown name "${key}"${at}: Cannot find field.`, field }
}

function targetRefusal(message: Record<string, unknown>): PushRefusal | undefined {
  const [first, second] = TARGETS.filter((target) => message[target] !== undefined)
  if (second) {
    const problem = `oneof field 'target' is already set. Cannot set '${second}'`
    return { message: `Invalid value at 'message' (oneof), ${problem}`, field: 'message' }
  }
  if (first && typeof message[first] !== 'string') return notText(`message.${first}`, message[first])
  if (first && message[first]) return undefined
  return { message: 'Recipient of the message is not set.', fcmCode: 'INVALID_ARGUMENT', field: 'message' }
}

function dataRefusal({ data = {}, topic }: Record<string, unknown>): PushRefusal | undefined {
  if (!isObject(data)) return { message: "Invalid value at 'message.data'", field: 'message.data' }
  const entries = Object.entries(data)
  const index = entries.findIndex(([, value]) => typeof value !== 'string')
  if (index >= 0) return notText(`message.data[${index}].value`, entries[index]?.[1])
  const reserved = entries.find(([key]) => RESERVED.test(key))?.[0]
  if (reserved !== undefined) {
    return { message: `Invalid data payload key: ${reserved}`, fcmCode: 'INVALID_ARGUMENT', field: 'message.data' }
  }
  const size = entries.flat().reduce<number>((sum, text) => sum + Buffer.byteLength(String(text)), 0)
  if (size <= (topic ? 2_048 : 4_096)) return undefined
  return { message: 'Message is too big', fcmCode: 'INVALID_ARGUMENT' }
}

function androidRefusal(android: unknown = {}): PushRefusal | undefined {
  if (!isObject(android)) return { message: "Invalid value at 'message.android'", field: 'message.android' }
  const { ttl, priority } = android
  const seconds = /^(\d{1,9}(?:\.\d{1,9})?)s$/.exec(String(ttl))?.[1]
  if (ttl !== undefined && !(Number(seconds) <= MAX_TTL_SECONDS)) {
    return { message: 'Invalid ttl', fcmCode: 'INVALID_ARGUMENT', field: 'message.android.ttl' }
  }
  if (priority === undefined || /^(?:normal|high)$/i.test(String(priority))) return undefined
  return { message: "Invalid value at 'message.android.priority'", field: 'message.android.priority' }
}

function apnsRefusal(apns: unknown = {}): PushRefusal | undefined {
  const { headers = {}, payload = {} } = isObject(apns) ? apns : { headers: null }
  const isValid = isObject(headers) && isObject(payload) && Object.values(headers).every((v) => typeof v === 'string')
  return isValid ? undefined : { message: "Invalid value at 'message.apns'", field: 'message.apns' }
}

function notText(field: string, value: unknown): PushRefusal {
  return { message: `Invalid value at '${field}' (TYPE_STRING), ${JSON.stringify(value)}`, field }
}
