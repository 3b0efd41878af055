import { importPKCS8, SignJWT } from 'jose'
import { type Sandbox, type SandboxConfig, startSandbox } from '../../src/sandbox/sandbox.ts'
import { createSandboxAccounts } from '../../src/sandbox/sandbox-accounts.ts'

export const accounts = await createSandboxAccounts()
export const { accountSid, authToken } = accounts.twilio
export const { apiKey, apiSecret, signatureSecret } = accounts.vonage
export const { projectId, clientEmail } = accounts.fcm

export const TO = '+34600111222'
export const FROM = '+15005550006'
export const TWIML = '<Response><Say>Your code is 123456</Say></Response>'
export const SCOPE = 'https://www.googleapis.com/auth/firebase.messaging'
export const DEVICE = 'device-1'

/** A sandbox whose messages stay as they were answered, unless told. */
export function sandboxOnFreePort(config: Partial<SandboxConfig> = {}): Promise<Sandbox> {
  return startSandbox({ host: '127.0.0.1', port: 0, receipts: 'none', ...accounts, ...config })
}

export function basic(user: string, password: string): string {
  return `Basic ${Buffer.from(`${user}:${password}`).toString('base64')}`
}

type Init = RequestInit & { path?: string }

/** Sends a text message over Twilio. */
export function text(sandbox: Sandbox, form: Record<string, string> = {}, init: Init = {}): Promise<Response> {
  return twilio(sandbox, 'Messages', { To: TO, From: FROM, Body: 'Your code is 123456', ...form }, init)
}

/** Calls a phone over Twilio. */
export function ring(sandbox: Sandbox, form: Record<string, string> = {}, init: Init = {}): Promise<Response> {
  return twilio(sandbox, 'Calls', { To: TO, From: FROM, Twiml: TWIML, ...form }, init)
}

function twilio(sandbox: Sandbox, list: string, form: Record<string, string>, init: Init): Promise<Response> {
  return fetch(sandbox.url + (init.path ?? `/2010-04-01/Accounts/${accountSid}/${list}.json`), {
    method: 'POST',
    headers: { authorization: basic(accountSid, authToken) },
    body: new URLSearchParams(form),
    redirect: 'manual',
    ...init,
  })
}

/** Sends a text message over Vonage. */
export function sms(sandbox: Sandbox, fields: object = {}, init: Init = {}): Promise<Response> {
  const message = { message_type: 'text', channel: 'sms', to: TO.slice(1), from: 'Bank', text: 'Your code is 123456' }
  return fetch(sandbox.url + (init.path ?? '/v1/messages'), {
    method: 'POST',
    headers: { authorization: basic(apiKey, apiSecret), 'content-type': 'application/json' },
    body: JSON.stringify({ ...message, ...fields }),
    ...init,
  })
}

/** Sends a push over FCM with this access token. */
export function push(
  sandbox: Sandbox,
  accessToken: string,
  message: object = {},
  init: Init & { request?: object } = {},
): Promise<Response> {
  const { request = { message: { token: DEVICE, data: { code: '123456' }, ...message } }, path, ...rest } = init
  return fetch(sandbox.url + (path ?? `/v1/projects/${projectId}/messages:send`), {
    method: 'POST',
    headers: { authorization: `Bearer ${accessToken}`, 'content-type': 'application/json; charset=UTF-8' },
    body: JSON.stringify(request),
    ...rest,
  })
}

/** An assertion that the sandbox takes, but for these claims; undefined leaves one out. */
export async function assertion(
  sandbox: Sandbox,
  claims: Record<string, unknown> = {},
  { key = accounts.fcm.privateKey, alg = 'RS256' } = {},
): Promise<string> {
  const now = Math.floor(Date.now() / 1_000)
  const right = { iss: clientEmail, scope: SCOPE, aud: `${sandbox.url}/token`, iat: now, exp: now + 3_600 }
  const privateKey = await importPKCS8(key, alg)
  return new SignJWT({ ...right, ...claims }).setProtectedHeader({ alg }).sign(privateKey)
}

/** Asks for an access token. */
export async function grant(sandbox: Sandbox, form: Record<string, string> = {}): Promise<Response> {
  const grant_type = 'urn:ietf:params:oauth:grant-type:jwt-bearer'
  const body = new URLSearchParams({ grant_type, assertion: form.assertion ?? (await assertion(sandbox)), ...form })
  return fetch(`${sandbox.url}/token`, { method: 'POST', body })
}

export async function accessToken(sandbox: Sandbox): Promise<string> {
  const { access_token } = (await (await grant(sandbox)).json()) as { access_token: string }
  return access_token
}
