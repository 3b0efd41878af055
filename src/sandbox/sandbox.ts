import { once } from 'node:events'
import { createServer, type IncomingHttpHeaders, type IncomingMessage, type ServerResponse } from 'node:http'
import { type AddressInfo, isIPv6 } from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'
import type { Dialect, Exchange, SimulatedMessage, SimulatedProvider } from './dialect.ts'
import { type Fault, parseFaults, performFault, takeFault } from './faults.ts'
import { fcmApi } from './fcm-api.ts'
import { createAccessTokens, googleTokenApi, type ServiceAccount } from './google-token.ts'
import { type Answer, parseBody, readBody, send } from './http.ts'
import { type TwilioAccount, twilioApi } from './twilio-api.ts'
import { type VonageAccount, vonageApi } from './vonage-api.ts'

export type { SimulatedMessage, SimulatedProvider } from './dialect.ts'
export type { Fault } from './faults.ts'

export interface SandboxConfig {
  host: string
  /** 0 means any free port. */
  port: number
  twilio: TwilioAccount
  vonage: VonageAccount
  fcm: ServiceAccount & { projectId: string }
}

/** An authenticated call that would send. */
export interface SimulatedCall {
  provider: SimulatedProvider
  /** performance.now() when its body was complete. */
  atMs: number
  /** Without `authorization`. */
  headers: IncomingHttpHeaders
  /** Empty unless the call is a form. */
  form: URLSearchParams
  /** Undefined unless the call is JSON. */
  json: unknown
}

export interface Sandbox extends AsyncDisposable {
  readonly url: string
  readonly port: number
  /** The newest 1,000, newest first. */
  readonly messages: readonly SimulatedMessage[]
  /** The newest 1,000, oldest first; refused and failed ones too. */
  readonly calls: readonly SimulatedCall[]
  /** Queues faults: each is used up by one authenticated call that it fits, in order, before anything else is looked at. */
  failNext(...faults: Fault[]): void
  /** The next call received from now on, as soon as it is read, so before its answer. Rejects when the sandbox is stopped. */
  nextCall(): Promise<SimulatedCall>
  /** Forgets every access token that was issued for FCM. */
  expireTokens(): void
  /** Forgets the messages, the calls and the pending faults. */
  clear(): void
}

const MAX_KEPT = 1_000
const JSON_TYPE = 'application/json;charset=utf-8'
const ALLOWED = new Map([
  ['/messages', 'GET, DELETE'],
  ['/faults', 'POST, DELETE'],
])

/**
 * Starts a server that speaks the APIs of Twilio, Vonage and Firebase Cloud Messaging over plain HTTP and sends nothing.
 * What it took is at `GET /messages`, forgotten by `DELETE /messages`; what goes wrong next is told by `POST /faults` and
 * forgotten by `DELETE /faults`. Those are open to whoever reaches the port. Disposing cuts every connection. Rejects
 * when the port can't be had or the public key can't be read.
 */
export async function startSandbox(config: SandboxConfig): Promise<Sandbox> {
  const messages: SimulatedMessage[] = []
  const calls: SimulatedCall[] = []
  const faults: Fault[] = []
  const tokens = createAccessTokens()
  const dialects = [
    twilioApi(config.twilio),
    vonageApi(config.vonage),
    googleTokenApi(config.fcm, tokens),
    fcmApi(config.fcm.projectId, tokens),
  ]
  const stop = new AbortController()
  let next = newCallSlot()

  async function handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const startedMs = performance.now()
    const text = await readBody(request)
    const { method = '', headers } = request
    const path = (request.url ?? '').split('?', 1)[0] ?? ''
    const dialect = dialects.find(({ owns }) => owns(path))
    if (!dialect) {
      const answer = control(method, path, text)
      return void (answer ? send(response, answer) : response.writeHead(204).end())
    }

    const { host = '', authorization = '', 'content-type': type } = headers
    const body = parseBody(text ?? '', type)
    const reading =
      text === undefined
        ? dialect.error(413, undefined, 'The body is too large')
        : await dialect.read({ method, path, host, authorization, ...body })
    if ('accept' in reading) return carryOut(reading, dialect, { headers, ...body }, response, startedMs)
    response.setHeaders(new Map(Object.entries(dialect.headers(startedMs))))
    send(response, reading)
  }

  async function carryOut(
    { target, refusal, accept }: Exchange,
    dialect: Dialect,
    call: Pick<SimulatedCall, 'headers' | 'form' | 'json'>,
    response: ServerResponse,
    startedMs: number,
  ): Promise<void> {
    if (target !== 'fcm-token') record(target, call)
    const fault = takeFault(faults, target)
    const sent = fault?.sent && !refusal ? keep(accept()) : undefined
    if (fault?.latencyMs) await delay(fault.latencyMs, undefined, { signal: stop.signal })
    response.setHeaders(new Map(Object.entries(dialect.headers(startedMs))))
    if (fault && (await performFault(fault, dialect, response, stop.signal))) return
    send(response, refusal ?? sent ?? keep(accept()))
  }

  function record(provider: SimulatedProvider, { headers, ...body }: Pick<SimulatedCall, 'headers' | 'form' | 'json'>) {
    const { authorization: _secret, ...rest } = headers
    const call = { provider, atMs: performance.now(), headers: rest, ...body }
    calls.push(call)
    if (calls.length > MAX_KEPT) calls.shift()
    next.resolve(call)
    next = newCallSlot()
  }

  function keep({ answer, message }: ReturnType<Exchange['accept']>): Answer {
    if (message) messages.unshift(message)
    messages.splice(MAX_KEPT)
    return answer
  }

  /** What the addresses for people and tests answer; nothing is a success without a body. */
  function control(method: string, path: string, text: string | undefined): Answer | undefined {
    if (text === undefined) return problems(413, ['the body is over 64 KiB'])
    switch (`${method} ${path}`) {
      case 'GET /messages':
        return { status: 200, type: JSON_TYPE, body: messages }
      case 'DELETE /messages':
        return forget(messages, calls)
      case 'POST /faults': {
        const parsed = parseFaults(text)
        if ('problems' in parsed) return problems(400, parsed.problems)
        faults.push(...parsed.faults)
        return undefined
      }
      case 'DELETE /faults':
        return forget(faults)
    }
    const allowed = ALLOWED.get(path)
    if (!allowed) return problems(404, [`there is nothing at ${path}`])
    return { ...problems(405, [`${path} takes ${allowed}`]), headers: { Allow: allowed } }
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
    expireTokens: tokens.expire,
    clear: () => forget(messages, calls, faults),
    async [Symbol.asyncDispose]() {
      stop.abort()
      next.reject(new Error('the sandbox was stopped'))
      const closed = new Promise((resolve) => server.close(resolve))
      server.closeAllConnections()
      await closed
    },
  }
}

function newCallSlot() {
  const slot = Promise.withResolvers<SimulatedCall>()
  // Nobody may be waiting when the sandbox stops.
  slot.promise.catch(() => {})
  return slot
}

function problems(status: number, list: string[]): Answer {
  return { status, type: JSON_TYPE, body: { problems: list } }
}

function forget(...lists: unknown[][]): undefined {
  for (const list of lists) list.length = 0
}
