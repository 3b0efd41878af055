import { createHmac } from 'node:crypto'
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { json } from 'node:stream/consumers'
import { exchange, jsonOf, refusal } from '../../src/providers/http-exchange.ts'
import { keep } from '../../src/providers/proof.ts'
import { secondsLeft } from '../../src/providers/provider.ts'
import { smsText } from '../../src/providers/texts.ts'
import { defineVendor } from '../../src/providers/vendor.ts'
import { callIn } from '../../src/providers/webhook-url.ts'
import { matching, TOKEN } from '../../src/settings.ts'

const RECEIPTS_PATH = '/webhooks/acme/messages'

/** A vendor that nothing in `src` knows: text messages by POST, with receipts that are signed with the same token. */
export const acme = defineVendor({
  name: 'acme',
  title: 'Acme',
  credentials: 'ACME_*',
  secrets: {
    token: { name: 'ACME_TOKEN', field: 'token', rule: TOKEN, need: 'always' },
    from: { name: 'ACME_FROM', field: 'from', rule: matching(/^[A-Z]+$/, 'capital letters'), need: 'always' },
  },
  timeoutSetting: 'ACME_TIMEOUT_SECONDS',
  configure({ token, from }, { setting, url }) {
    const apiUrl = setting('ACME_API_URL', url, 'https://api.acme.example')
    return token && from ? { token, from, apiUrl } : undefined
  },
  providers: ({ token, from, apiUrl }, { timeoutMs, clock, webhookUrl }) => [
    {
      name: 'acme-sms',
      channel: 'SMS',
      timeoutMs,
      reportsDelivery: webhookUrl !== undefined,
      async sendChallenge(message, signal) {
        const textWith = (code: string) => smsText(code, message.transaction, message.locale, secondsLeft(message))
        const text = textWith(message.code)
        const body = JSON.stringify({ from, to: message.phone, text, tell: webhookUrl?.(RECEIPTS_PATH, message) })
        const answer = await exchange(
          'acme-sms',
          apiUrl,
          { method: 'POST', headers: { Authorization: token }, body },
          signal,
        )
        if (answer.status !== 200) throw refusal('acme-sms', answer, undefined, {})
        const sentAt = clock()
        const said = { message, text, textWith, credentials: [token] }
        return { providerChallengeId: String(jsonOf(answer).id), ...keep(answer, sentAt, said), sentAt }
      },
      isAvailable: async () => true,
    },
  ],
  receiptReaders: ({ token }) => [
    {
      path: RECEIPTS_PATH,
      provider: 'acme-sms',
      async read({ target, headers, rawBody }) {
        const call = callIn(target)
        const signature = headers['x-acme-signature'] ?? ''
        if (!call || signature !== acmeSignature(token, rawBody)) return undefined
        return {
          ...call,
          provider: 'acme-sms',
          providerChallengeId: rawBody.toString(),
          vendorStatus: 'arrived',
          deliveryStatus: 'DELIVERED',
          providerErrorCode: undefined,
          proof: { rawBody, signature, keyName: 'token' },
        }
      },
    },
  ],
})

/** What Acme signs its receipts with. */
export function acmeSignature(token: string, body: string | Buffer): string {
  return createHmac('sha256', token).update(body).digest('hex')
}

/** A call as Acme got it. */
interface AcmeCall {
  authorization: string | undefined
  from: string
  text: string
  /** Where the receipt goes. */
  tell: string
}

export interface Acme extends AsyncDisposable {
  url: string
  /** Oldest first. */
  calls: AcmeCall[]
}

/** Starts Acme's server on loopback. It takes every message, and calls them message-1, message-2 and so on. */
export async function startAcme(): Promise<Acme> {
  const calls: AcmeCall[] = []
  const server = createServer(async (request, response) => {
    const body = (await json(request)) as Omit<AcmeCall, 'authorization'>
    calls.push({ authorization: request.headers.authorization, ...body })
    response.end(JSON.stringify({ id: `message-${calls.length}` }))
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    calls,
    async [Symbol.asyncDispose]() {
      server.close()
      server.closeAllConnections()
    },
  }
}
