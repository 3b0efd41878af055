import { once } from 'node:events'
import { createServer, type IncomingHttpHeaders, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { text } from 'node:stream/consumers'

/** A request as the receiver got it. */
export interface Received {
  method: string | undefined
  /** The whole address, as it was requested. */
  url: string
  headers: IncomingHttpHeaders
  body: string
  /** performance.now() when its body was complete. */
  atMs: number
}

type Answer = number | 'hold' | { body: string }

/** A server on loopback to which webhooks can be sent. */
export interface Receiver extends AsyncDisposable {
  readonly url: string
  readonly received: readonly Received[]
  /** Resolves once so many have been received. */
  count(total: number): Promise<readonly Received[]>
  /** Answers the next ones with these statuses or bodies, later ones with 204; one that is held waits for release(). */
  answerNext(...answers: Answer[]): void
  /** Answers what is held. */
  release(): void
}

export async function startReceiver(): Promise<Receiver> {
  const received: Received[] = []
  const answers: Answer[] = []
  const held: ServerResponse[] = []
  let arrival = Promise.withResolvers<void>()

  const server = createServer(async (request, response) => {
    const body = await text(request)
    const { method, url, headers } = request
    received.push({ method, url: `http://${headers.host}${url}`, headers, body, atMs: performance.now() })
    const answer = answers.shift() ?? 204
    if (answer === 'hold') held.push(response)
    else if (typeof answer === 'object') response.end(answer.body)
    else response.writeHead(answer, answer === 307 ? { Location: '/elsewhere' } : {}).end()
    arrival.resolve()
    arrival = Promise.withResolvers()
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')

  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    received,
    async count(total) {
      while (received.length < total) await arrival.promise
      return received
    },
    answerNext: (...added) => void answers.push(...added),
    release() {
      for (const response of held.splice(0)) response.writeHead(204).end()
    },
    async [Symbol.asyncDispose]() {
      const closed = new Promise((resolve) => server.close(resolve))
      server.closeAllConnections()
      await closed
    },
  }
}
