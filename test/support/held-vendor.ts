import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { text } from 'node:stream/consumers'
import { codeIn } from './app.ts'

/** A call that waits for its answer. */
export interface HeldCall {
  /** What the message asks its reader to type. */
  code: string
  /** Answers with this status and no more. */
  answer(status: number): void
  /** Cuts the connection, so that nobody knows what became of the call. */
  reset(): void
}

/** In Twilio's place: answers a call when it is told to, so that something can happen in between. */
export interface HeldVendor extends AsyncDisposable {
  /** Of the setting TWILIO_API_URL. */
  url: string
  /** How many calls came. */
  readonly calls: number
  /** The next call that nobody has asked for yet. */
  next(): Promise<HeldCall>
}

export async function startHeldVendor(): Promise<HeldVendor> {
  const came: HeldCall[] = []
  const waiting: ((call: HeldCall) => void)[] = []
  let calls = 0
  const server = createServer(async (request, response) => {
    // Whether the account is active, which is asked at the start.
    if (request.method === 'GET') return void response.end('{"status":"active"}')
    calls += 1
    const code = codeIn(new URLSearchParams(await text(request)).get('Body') ?? '')
    const call: HeldCall = {
      code,
      answer: (status) => void response.writeHead(status).end(),
      reset: () => void request.socket.resetAndDestroy(),
    }
    const waiter = waiting.shift()
    if (waiter) waiter(call)
    else came.push(call)
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    get calls() {
      return calls
    },
    next() {
      const call = came.shift()
      return call ? Promise.resolve(call) : new Promise((resolve) => waiting.push(resolve))
    },
    async [Symbol.asyncDispose]() {
      server.close()
      server.closeAllConnections()
    },
  }
}
