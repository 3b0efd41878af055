import { createPrivateKey } from 'node:crypto'
import { matching, parseJson, type Rule } from '../../settings.ts'

export const PROJECT_ID = matching(/^[a-z0-9-]+$/, "a Google Cloud project's id: lower-case letters, digits and -")

/** What stands in FCM_SERVICE_ACCOUNT for the service account that Google's machine or pod itself runs as. */
const METADATA_SERVER = 'metadata-server'

type GoogleCredentials =
  | NonNullable<ReturnType<typeof jsonCredentials>>
  | { type: 'metadata_server'; projectId: undefined }

/**
 * Credentials of Google: the JSON key of a service account (https://cloud.google.com/iam/docs/keys-create-delete), the
 * JSON of a workload identity federation whose subject token comes from a file or a URL (https://google.aip.dev/auth/4117),
 * or the words `metadata-server`. Tokens are asked for at URLs that keep the rule `url`; the subject token may be on plain http, as
 * clouds offer it.
 */
export function googleCredentials(url: Rule<string>): Rule<GoogleCredentials> {
  return {
    mustBe: [
      `the JSON key of a Google service account: project_id, client_email, private_key, token_uri (${url.mustBe})`,
      'JSON of the type external_account: audience, subject_token_type, token_url, credential_source with a file or a url',
      METADATA_SERVER,
    ].join('; or '),
    parse: (text) =>
      text === METADATA_SERVER ? { type: 'metadata_server', projectId: undefined } : jsonCredentials(text, url),
  }
}

function jsonCredentials(text: string, url: Rule<string>) {
  const json = objectIn(parseJson(text))
  return json.type === 'external_account' ? externalAccount(json, url) : serviceAccount(json, url)
}

function serviceAccount({ project_id, client_email, private_key, token_uri }: Json, url: Rule<string>) {
  const projectId = PROJECT_ID.parse(textOf(project_id))
  const tokenUri = url.parse(textOf(token_uri))
  const clientEmail = textOf(client_email)
  const privateKey = textOf(private_key)
  if (!projectId || !clientEmail || !isPrivateKey(privateKey) || !tokenUri) return undefined
  return { type: 'service_account' as const, projectId, clientEmail, privateKey, tokenUri }
}

function externalAccount(json: Json, url: Rule<string>) {
  const audience = textOf(json.audience)
  const subjectTokenType = textOf(json.subject_token_type)
  const tokenUrl = url.parse(textOf(json.token_url))
  const impersonation = json.service_account_impersonation_url
  const impersonationUrl = impersonation === undefined ? undefined : url.parse(textOf(impersonation))
  const lifetimeSeconds = Number(objectIn(json.service_account_impersonation).token_lifetime_seconds ?? 3_600)
  const isLifetime = lifetimeSeconds >= 600 && lifetimeSeconds <= 43_200
  const source = subjectTokenSource(objectIn(json.credential_source))
  if (!audience || !subjectTokenType || !tokenUrl || !source) return undefined
  if ((impersonation !== undefined && !impersonationUrl) || !isLifetime) return undefined
  return {
    type: 'external_account' as const,
    projectId: undefined,
    audience,
    subjectTokenType,
    tokenUrl,
    impersonationUrl,
    lifetimeSeconds,
    source,
  }
}

/** Where the subject token is, and in which field of its JSON, if it is JSON. */
function subjectTokenSource({ file, url, headers = {}, format }: Json) {
  const { type = 'text', subject_token_field_name: name } = objectIn(format)
  const field = type === 'json' ? textOf(name) : undefined
  if (field === '' || (type !== 'json' && type !== 'text')) return undefined
  if (textOf(file)) return { file: textOf(file), field }
  // A cloud's own endpoint speaks http on a link-local address.
  const isUrl = /^https?:$/.test(URL.parse(textOf(url))?.protocol ?? '')
  const entries = Object.entries(objectIn(headers)).map(([name, value]) => [name, textOf(value)] as const)
  return isUrl ? { url: textOf(url), headers: Object.fromEntries(entries), field } : undefined
}

type Json = Readonly<Record<string, unknown>>

function objectIn(value: unknown): Json {
  return typeof value === 'object' && value !== null ? (value as Json) : {}
}

function textOf(value: unknown): string {
  return typeof value === 'string' ? value : ''
}

function isPrivateKey(pem: string): boolean {
  try {
    return createPrivateKey(pem).asymmetricKeyType === 'rsa'
  } catch {
    return false
  }
}
