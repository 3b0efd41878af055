import { createHash, timingSafeEqual } from 'node:crypto'
import { once } from 'node:events'
import { createServer, type IncomingHttpHeaders, type IncomingMessage, type ServerResponse } from 'node:http'
import { type AddressInfo, isIPv6 } from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'
import { type Fault, parseFaults, performFault } from './faults.ts'
import { answerError, answerJson, answerNotAllowed, answerNothing, readBody } from './http.ts'
import { accountResource, messageResource, newSid, refusal, type TwilioError } from './twilio-api.ts'

export type { Fault } from './faults.ts'

export interface TwilioSimulatorConfig {
  host: string
  /** 0 means any free port. */
  port: number
  accountSid: string
  authToken: string
}

/** A message that the simulator took as sent. `from` is the messaging service where the call named one instead. */
export interface SimulatedMessage {
  sid: string
  to: string
  from: string
  body: string
  status: string
  /** ISO 8601 */
  created_at: string
}

/** An authenticated call of the Messages API. */
export interface SimulatedCall {
  /** performance.now() when its body was complete. */
  atMs: number
  form: URLSearchParams
  /** Without `authorization`. */
  headers: IncomingHttpHeaders
}

export interface TwilioSimulator extends AsyncDisposable {
  readonly url: string
  readonly port: number
  /** The newest 1,000, newest first. */
  readonly messages: readonly SimulatedMessage[]
  /** The newest 1,000, oldest first; refused and failed ones too. */
  readonly calls: readonly SimulatedCall[]
  /** Queues faults: each is used up by one authenticated call, in order, before anything else is looked at. */
  failNext(...faults: Fault[]): void
  /** The next call received from now on, as soon as it is read, so before its answer. Rejects when the simulator is stopped. */
  nextCall(): Promise<SimulatedCall>
  /** Forgets the messages, the calls and the pending faults. */
  clear(): void
}

const MAX_KEPT = 1_000
const ACCOUNT_PATH = /^\/2010-04-01\/Accounts\/([^/]*)\.json$/
const MESSAGES_PATH = /^\/2010-04-01\/Accounts\/([^/]*)\/Messages\.json$/
const ALLOWED = new Map([
  ['/messages', 'GET, DELETE'],
  ['/faults', 'POST, DELETE'],
])

/**
 * Starts a server that speaks Twilio's Messages API over plain HTTP, tells its account's state, and sends nothing. What it took is at `GET /messages`,
 * forgotten by `DELETE /messages`; what goes wrong next is told by `POST /faults` and forgotten by `DELETE /faults`.
 * Those are open to whoever reaches the port. Disposing cuts every connection. Rejects when the port can't be had.
 */
export async function startTwilioSimulator(config: TwilioSimulatorConfig): Promise<TwilioSimulator> {
  const messages: SimulatedMessage[] = []
  const calls: SimulatedCall[] = []
  const faults: Fault[] = []
  const stop = new AbortController()
  let next = newCallSlot()

  async function handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const startedMs = performance.now()
    const text = await readBody(request)
    response.setHeader('Twilio-Request-Id', newSid('RQ'))
    if (text === undefined) return answerError(response, { status: 413, code: 20413, message: 'The body is too large' })

    const path = (request.url ?? '').split('?', 1)[0] ?? ''
    const account = MESSAGES_PATH.exec(path)?.[1]
    if (account !== undefined) {
      if (!isAuthentic(config, request.headers.authorization)) return answerUnauthorized(response)
      if (request.method !== 'POST') return answerNotAllowed(response, 'POST')
      const { form } = record(request, text)
      return answerCall(form, account === config.accountSid ? refusal(form) : notFound(path), response, startedMs)
    }

    const fetched = ACCOUNT_PATH.exec(path)?.[1]
    if (fetched !== undefined) {
      if (!isAuthentic(config, request.headers.authorization)) return answerUnauthorized(response)
      if (request.method !== 'GET') return answerNotAllowed(response, 'GET')
      if (fetched !== config.accountSid) return answerError(response, notFound(path))
      return answerJson(response, 200, accountResource(fetched))
    }

    switch (`${request.method} ${path}`) {
      case 'GET /messages':
        return answerJson(response, 200, messages)
      case 'DELETE /messages':
        forget(messages, calls)
        return answerNothing(response)
      case 'POST /faults': {
        const parsed = parseFaults(text)
        if ('problems' in parsed) return answerJson(response, 400, parsed)
        faults.push(...parsed.faults)
        return answerNothing(response)
      }
      case 'DELETE /faults':
        forget(faults)
        return answerNothing(response)
    }
    const allowed = ALLOWED.get(path)
    if (allowed) return answerNotAllowed(response, allowed)
    answerError(response, notFound(path))
  }

  function record(request: IncomingMessage, text: string): SimulatedCall {
    const { authorization: _secret, ...headers } = request.headers
    const isForm = headers['content-type']?.toLowerCase().startsWith('application/x-www-form-urlencoded') ?? false
    const call = { atMs: performance.now(), form: new URLSearchParams(isForm ? text : ''), headers }
    calls.push(call)
    if (calls.length > MAX_KEPT) calls.shift()
    next.resolve(call)
    next = newCallSlot()
    return call
  }

  function send(form: URLSearchParams) {
    const createdAt = new Date()
    const resource = messageResource(config.accountSid, form, createdAt)
    const { sid, to, body, status } = resource
    const from = resource.from ?? resource.messaging_service_sid ?? ''
    messages.unshift({ sid, to, from, body, status, created_at: createdAt.toISOString() })
    messages.splice(MAX_KEPT)
    return resource
  }

  async function answerCall(
    form: URLSearchParams,
    refused: TwilioError | undefined,
    response: ServerResponse,
    startedMs: number,
  ): Promise<void> {
    const fault = faults.shift()
    const sent = fault?.sent && !refused ? send(form) : undefined
    if (fault?.latencyMs) await delay(fault.latencyMs, undefined, { signal: stop.signal })
    response.setHeader('Twilio-Concurrent-Requests', '1')
    response.setHeader('Twilio-Request-Duration', ((performance.now() - startedMs) / 1_000).toFixed(3))
    if (fault && (await performFault(fault, response, stop.signal))) return
    if (refused) return answerError(response, refused)
    answerJson(response, 201, sent ?? send(form))
  }

  const server = createServer((request, response) => {
    // Only a client that has gone, or a stop, ends up here.
    handle(request, response).catch(() => response.destroy())
  })
  server.listen(config.port, config.host)
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo

  return {
    url: `http://${isIPv6(config.host) ? `[${config.host}]` : config.host}:${port}`,
    port,
    messages,
    calls,
    failNext: (...added) => void faults.push(...added),
    nextCall: () => next.promise,
    clear: () => forget(messages, calls, faults),
    async [Symbol.asyncDispose]() {
      stop.abort()
      next.reject(new Error('the Twilio simulator was stopped'))
      const closed = new Promise((resolve) => server.close(resolve))
      server.closeAllConnections()
      await closed
    },
  }
}

function newCallSlot() {
  const slot = Promise.withResolvers<SimulatedCall>()
  // Nobody may be waiting when the simulator stops.
  slot.promise.catch(() => {})
  return slot
}

function isAuthentic({ accountSid, authToken }: TwilioSimulatorConfig, authorization = ''): boolean {
  const credentials = Buffer.from(/^Basic +(\S+)$/i.exec(authorization)?.[1] ?? '', 'base64')
  return timingSafeEqual(sha256(credentials), sha256(`${accountSid}:${authToken}`))
}

function sha256(data: string | Buffer): Buffer {
  return createHash('sha256').update(data).digest()
}

function answerUnauthorized(response: ServerResponse): void {
  response.setHeader('WWW-Authenticate', 'Basic realm="Twilio API"')
  answerError(response, { status: 401, code: 20003, message: 'The account SID or the auth token is wrong' })
}

function notFound(path: string): TwilioError {
  return { status: 404, code: 20404, message: `There is no resource at ${path}` }
}

function forget(...lists: unknown[][]): void {
  for (const list of lists) list.length = 0
}
