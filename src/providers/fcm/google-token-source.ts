import { createPrivateKey } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { SignJWT } from 'jose'
import { exchange, type HttpAnswer, isAccepted, isObject, jsonIn, jsonOf, refusal } from '../http-exchange.ts'
import { ProviderError } from '../provider.ts'
import { TOKEN_ERRORS } from './fcm-errors.ts'

/** Who we are for Google. */
export type GoogleCredentials = ServiceAccount | ExternalAccount | MetadataServer

/** What the JSON key file of a service account says of it. */
export interface ServiceAccount {
  type: 'service_account'
  clientEmail: string
  /** PKCS #8, PEM. */
  privateKey: string
  /** For example https://oauth2.googleapis.com/token. */
  tokenUri: string
}

/** Workload identity federation: another identity provider's token is exchanged for Google's. https://google.aip.dev/auth/4117 */
export interface ExternalAccount {
  type: 'external_account'
  audience: string
  subjectTokenType: string
  /** For example https://sts.googleapis.com/v1/token. */
  tokenUrl: string
  /** Where the token of the service account comes from that is acted as; undefined: the exchanged token is used itself. */
  impersonationUrl: string | undefined
  lifetimeSeconds: number
  /** Where the subject token is; `field` is its name where that is JSON. */
  source: ({ file: string } | { url: string; headers: Record<string, string> }) & { field: string | undefined }
}

/** The service account that Google's own machine or pod runs as: https://cloud.google.com/compute/docs/metadata/overview */
export interface MetadataServer {
  type: 'metadata_server'
  /** For example http://metadata.google.internal. */
  url: string
}

/** An access token as it comes. */
export interface FreshToken {
  value: string
  seconds: number
}

interface TokenSourceConfig {
  /** Who asks, for errors. */
  provider: string
  credentials: GoogleCredentials
  scope: string
  clock: () => Date
}

/** https://developers.google.com/identity/protocols/oauth2/service-account: an hour at most. */
const ASSERTION_SECONDS = 3_600
/** RFC 6749, section 5.2, for example invalid_grant. */
const ERROR = /^[a-z_]{1,64}$/
/** What an exchanged token is good for when it only serves to get the service account's. */
const CLOUD_PLATFORM = 'https://www.googleapis.com/auth/cloud-platform'
const ACCESS_TOKEN = 'urn:ietf:params:oauth:token-type:access_token'
const FLAVOR = { 'Metadata-Flavor': 'Google' }

/**
 * Makes a function that gets an access token from wherever the credentials say. It throws {@link ProviderError}. Throws a
 * TypeError itself when a service account's key is no RSA key in PEM.
 */
export function createTokenSource(config: TokenSourceConfig): (signal: AbortSignal) => Promise<FreshToken> {
  const { provider, credentials, scope, clock } = config
  switch (credentials.type) {
    case 'service_account':
      return serviceAccountSource(config, credentials)
    case 'external_account':
      return (signal) => externalToken(config, credentials, signal)
    case 'metadata_server':
      return async (signal) => {
        const path = `/computeMetadata/v1/instance/service-accounts/default/token?scopes=${encodeURIComponent(scope)}`
        const init = { method: 'GET', headers: FLAVOR }
        return freshToken(provider, await ask(provider, credentials.url + path, init, signal), clock())
      }
  }
}

/** The id of the project that the machine or pod is in, which only the metadata server knows. Throws {@link ProviderError}. */
export async function readProjectId(
  provider: string,
  credentials: GoogleCredentials,
  signal: AbortSignal,
): Promise<string> {
  if (credentials.type !== 'metadata_server') throw new ProviderError(provider, 'NO_PROJECT', 'ours')
  const init = { method: 'GET', headers: FLAVOR }
  const { body } = await ask(provider, `${credentials.url}/computeMetadata/v1/project/project-id`, init, signal)
  if (!/^[a-z0-9-]+$/.test(body)) throw new ProviderError(provider, 'UNUSABLE_PROJECT', 'transient')
  return body
}

/** By the JWT bearer grant, RFC 7523. */
function serviceAccountSource({ provider, scope, clock }: TokenSourceConfig, account: ServiceAccount) {
  const { clientEmail, tokenUri } = account
  const key = createPrivateKey(account.privateKey)
  if (key.asymmetricKeyType !== 'rsa') throw new TypeError('the key of a Google service account must be an RSA key')
  return async (signal: AbortSignal) => {
    const now = clock()
    const issuedAt = Math.floor(now.getTime() / 1_000)
    const assertion = await new SignJWT({ scope })
      .setProtectedHeader({ alg: 'RS256', typ: 'JWT' })
      .setIssuer(clientEmail)
      .setAudience(tokenUri)
      .setIssuedAt(issuedAt)
      .setExpirationTime(issuedAt + ASSERTION_SECONDS)
      .sign(key)
    const grant = { grant_type: 'urn:ietf:params:oauth:grant-type:jwt-bearer', assertion }
    return freshToken(provider, await ask(provider, tokenUri, formOf(grant), signal), now)
  }
}

/** By token exchange, RFC 8693: https://cloud.google.com/iam/docs/reference/sts/rest/v1/TopLevel/token */
async function externalToken(
  { provider, scope, clock }: TokenSourceConfig,
  { audience, subjectTokenType, tokenUrl, impersonationUrl, lifetimeSeconds, source }: ExternalAccount,
  signal: AbortSignal,
): Promise<FreshToken> {
  const now = clock()
  const grant = {
    grant_type: 'urn:ietf:params:oauth:grant-type:token-exchange',
    audience,
    scope: impersonationUrl ? CLOUD_PLATFORM : scope,
    requested_token_type: ACCESS_TOKEN,
    subject_token: await subjectToken(provider, source, signal),
    subject_token_type: subjectTokenType,
  }
  const exchanged = freshToken(provider, await ask(provider, tokenUrl, formOf(grant), signal), now)
  if (!impersonationUrl) return exchanged
  // https://cloud.google.com/iam/docs/reference/credentials/rest/v1/projects.serviceAccounts/generateAccessToken
  const init = {
    method: 'POST',
    headers: { Authorization: `Bearer ${exchanged.value}`, 'Content-Type': 'application/json' },
    body: JSON.stringify({ scope: [scope], lifetime: `${lifetimeSeconds}s` }),
  }
  return freshToken(provider, await ask(provider, impersonationUrl, init, signal), now)
}

/** Reads the subject token. Done for each exchange, as its issuer replaces it before it expires. */
async function subjectToken(provider: string, source: ExternalAccount['source'], signal: AbortSignal): Promise<string> {
  const text =
    'file' in source
      ? await readFile(source.file, { encoding: 'utf8', signal }).catch(() => '')
      : (await ask(provider, source.url, { method: 'GET', headers: source.headers }, signal)).body
  const token = source.field === undefined ? text.trim() : jsonIn(text)[source.field]
  if (typeof token !== 'string' || token === '') throw new ProviderError(provider, 'NO_SUBJECT_TOKEN', 'ours')
  return token
}

/** An answer's access token: RFC 6749, section 5.1, or as Google's IAM Credentials API names it. */
function freshToken(provider: string, answer: HttpAnswer, now: Date): FreshToken {
  const { access_token, accessToken, expires_in, expireTime } = jsonOf(answer)
  const value = access_token ?? accessToken
  const seconds = expires_in ?? (Date.parse(String(expireTime)) - now.getTime()) / 1_000
  if (typeof value !== 'string' || value === '' || typeof seconds !== 'number' || Number.isNaN(seconds)) {
    throw new ProviderError(provider, 'UNUSABLE_TOKEN', 'transient')
  }
  return { value, seconds }
}

function formOf(fields: Record<string, string>) {
  return {
    method: 'POST',
    headers: { 'Content-Type': 'application/x-www-form-urlencoded', Accept: 'application/json' },
    body: new URLSearchParams(fields).toString(),
  }
}

/** The answer, when it is a success. Whatever goes wrong with a token, no message has left. */
async function ask(provider: string, url: string, init: Parameters<typeof exchange>[2], signal: AbortSignal) {
  const answer = await exchange(provider, url, init, signal).catch(nothingSent)
  if (isAccepted(answer)) return answer
  const { error } = jsonOf(answer)
  const code = isObject(error) ? String(error.status).toLowerCase() : error
  throw refusal(provider, answer, typeof code === 'string' && ERROR.test(code) ? code : undefined, TOKEN_ERRORS)
}

function nothingSent(error: unknown): never {
  if (!(error instanceof ProviderError)) throw error
  throw new ProviderError(error.provider, error.providerErrorCode, 'transient')
}
