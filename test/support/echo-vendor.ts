import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { text } from 'node:stream/consumers'
import type { SimulatedProvider } from '../../src/sandbox/sandbox.ts'
import { codeOf } from './hops.ts'

/** How it answers. */
export interface Echo {
  status: number
  /** Access tokens are not given either. */
  noToken?: true
  code?: number
  /** What the answer is made of what was said. */
  body?: (said: string) => string
}

export interface EchoVendor extends AsyncDisposable {
  /** In the place of all vendors, and of who gives access tokens, at /token. */
  url: string
  answerWith(next: Echo): void
}

const PATHS: Record<SimulatedProvider, string> = {
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
  codes,
  assertions,
}: {
  accessToken: string
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
    if (provider && method === 'POST' && !json?.validate_only) {
      codes.add(codeOf({ provider: provider as SimulatedProvider, form, json }))
    }
    const message = `${form.get('To')} can't get "${form.get('Body')}": ${sent} ${headers.authorization}`
    const { status, code, body = (said) => JSON.stringify(everywhere(said, code)) } = answer
    response.writeHead(status, { location: `/${form.get('To')}`, 'retry-after': '0' }).end(body(message))
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
