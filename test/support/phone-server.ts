import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { createPhone } from '../../src/sandbox/phone/serve-phone.ts'
import type { SimulatedMessage } from '../../src/sandbox/sandbox.ts'

/** The page on its own, with messages as one likes. */
export interface PhoneServer extends AsyncDisposable {
  url: string
  port: number
  messages: SimulatedMessage[]
  /** Adds a message unless it is there, and tells that it is new or has changed. */
  put(message: SimulatedMessage): void
  tell(message: SimulatedMessage): void
  /** Shows what is left in `messages`. */
  refresh(): void
}

export async function startPhone(messages: SimulatedMessage[] = [], port = 0): Promise<PhoneServer> {
  let tell = (_message: SimulatedMessage) => {}
  const phone = createPhone(messages, (listener) => {
    tell = listener
  })
  const server = createServer((request, response) => {
    if (!phone.serve(request, response)) response.writeHead(404).end()
  })
  server.listen(port, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address() as AddressInfo
  return {
    url: `http://127.0.0.1:${address.port}`,
    port: address.port,
    messages,
    put(message) {
      if (!messages.includes(message)) messages.unshift(message)
      tell(message)
    },
    tell: (message) => tell(message),
    refresh: phone.refresh,
    async [Symbol.asyncDispose]() {
      const closed = new Promise((resolve) => server.close(resolve))
      server.closeAllConnections()
      await closed
    },
  }
}

/** A text message, but for these fields. */
export function message(fields: Partial<SimulatedMessage> = {}): SimulatedMessage {
  return {
    sid: 'SM1',
    provider: 'twilio-sms',
    to: '+34600111222',
    from: 'Bank',
    body: 'Pay 125.50 EUR to ACME Ltd? Your code to sign: 123456. Valid for 5 min.',
    status: 'queued',
    created_at: '2026-03-02T10:20:30.000Z',
    ...fields,
  }
}
