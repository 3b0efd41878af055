import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { text } from 'node:stream/consumers'
import type { ProviderName } from '../../src/sandbox/simulated-vendors.ts'
import { codeOf } from './hops.ts'

/** How it answers. */
export interface Echo {
  status: number
  /** Access tokens are not given either. */
  noToken?: true
  code?: number
  /** The message is taken: the answer has an id as it should be. */
  taken?: true
  /** How what was said is written in the headers; as it is, unless told. */
  written?: (part: string) => string
  /** What the answer is made of what was said. */
  body?: (said: string) => string
}

export interface EchoVendor extends AsyncDisposable {
  /** In the place of all vendors, and of who gives access tokens, at /token. */
  url: string
  answerWith(next: Echo): void
}

/** Those that an answer may have, the ones that name an exchange among them. */
const HEADERS = [
  ...['date', 'server', 'etag', 'digest', 'content-digest', 'set-cookie', 'x-echo', 'x-home-region', 'x-api-domain'],
  ...['request-id', 'x-request-id', 'twilio-request-id', 'twilio-request-duration', 'x-correlation-id'],
  ...['x-nexmo-trace-id', 'signature', 'signature-input', 'x-signature', 'x-twilio-signature'],
]

/** An id as the vendor makes them. */
const IDS: Record<ProviderName, () => string> = {
  'twilio-sms': () => `SM${randomUUID().replaceAll('-', '')}`,
  'twilio-voice': () => `CA${randomUUID().replaceAll('-', '')}`,
  'vonage-sms': randomUUID,
  'fcm-push': () => `projects/echo/messages/0:1%${randomUUID().slice(0, 8)}`,
}

const PATHS: Record<ProviderName, string> = {
  'twilio-sms': '/Messages.json',
  'twilio-voice': '/Calls.json',
  'vonage-sms': '/v1/messages',
  'fcm-push': ':send',
}

/**
 * Starts a vendor that repeats whatever it was told, credentials too, in every part of its answers. The codes and the
 * assertions that it is told are added to those given.
 */
export async function startEchoVendor({
  accessToken,
  env,
  codes,
  assertions,
}: {
  accessToken: string
  /** Of the service that calls it. */
  env: { PII_KEYS?: string }
  codes: Set<string>
  assertions: Set<string>
}): Promise<EchoVendor> {
  let answer: Echo = { status: 500 }
  const server = createServer(async (incoming, response) => {
    const { url = '', method, headers } = incoming
    const sent = await text(incoming)
    const form = new URLSearchParams(sent)
    if (url === '/token') {
      assertions.add(form.get('assertion') ?? '')
      if (!answer.noToken) {
        return void response.end(JSON.stringify({ access_token: accessToken, expires_in: 3_600, token_type: 'Bearer' }))
      }
    }
    const json = headers['content-type'] === 'application/json' ? JSON.parse(sent) : undefined
    const [provider] = Object.entries(PATHS).find(([, path]) => url.endsWith(path)) ?? []
    const name = method === 'POST' && !json?.validate_only ? (provider as ProviderName | undefined) : undefined
    const otp = name && codeOf({ provider: name, form, json }, env)
    if (otp) codes.add(otp)
    const message = `${form.get('To')} can't get "${form.get('Body')}": ${sent} ${headers.authorization}`
    const { status, code, taken, written = (part) => part } = answer
    const { body = (said) => JSON.stringify({ ...everywhere(said, code), ...(taken && name && idOf(name)) }) } = answer
    const parts = [form.get('To') ?? json?.to ?? json?.message?.token, otp, headers.authorization]
    const echo = parts.map((part) => written(String(part))).join(' ')
    response
      .writeHead(status, {
        ...Object.fromEntries(HEADERS.map((header) => [header, echo])),
        location: `/${form.get('To')}`,
        'retry-after': '0',
      })
      .end(body(message))
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    answerWith: (next) => {
      answer = next
    },
    async [Symbol.asyncDispose]() {
      server.close()
      server.closeAllConnections()
    },
  }
}

function idOf(provider: ProviderName) {
  const id = IDS[provider]()
  return { sid: id, message_uuid: id, name: id }
}

/** Every field that some vendor's answer has, each with this text in it. */
function everywhere(said: string, code: number | undefined) {
  const details = [{ errorCode: said, fieldViolations: [{ field: said }] }]
  return {
    ...{ sid: said, message_uuid: said, name: said, to: said },
    ...{ code, message: said, more_info: said },
    ...{ type: `${said}#${code}`, title: said, detail: said },
    error: { code, message: said, status: said, details },
  }
}
