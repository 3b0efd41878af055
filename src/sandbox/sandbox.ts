import { once } from 'node:events'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import { type AddressInfo, isIPv6 } from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'
import type { Dialect, Exchange, ReceiptPlan, SimulatedCall, SimulatedMessage } from './dialect.ts'
import { type Fault, parseFaults, performFault, takeFault } from './faults.ts'
import { type Answer, isObject, parseBody, parseJson, readBody, send } from './http.ts'
import { createMessages } from './messages.ts'
import { createNext } from './next.ts'
import { createPhone } from './phone/serve-phone.ts'
import { createKeys } from './pressed-keys.ts'
import { createReceipts, type SimulatedReceipt } from './receipt-sender.ts'
import { PROVIDERS, SIMULATED_VENDORS, type Simulated } from './simulated-vendors.ts'

export type { SimulatedCall, SimulatedMessage } from './dialect.ts'
export type { Fault } from './faults.ts'
export type { SimulatedReceipt } from './receipt-sender.ts'

/** The account of each vendor, as it is needed to answer its calls. */
type Accounts = { [Name in keyof Simulated]: Parameters<Simulated[Name]['dialects']>[0] }

export interface SandboxConfig extends Accounts {
  host: string
  /** 0 means any free port. */
  port: number
  /** What happens to a message unless a fault scripts it: it is delivered, or nothing more happens. */
  receipts?: 'delivered' | 'none'
}

export interface Sandbox extends AsyncDisposable {
  readonly url: string
  readonly port: number
  /** The newest 1,000, newest first. */
  readonly messages: readonly SimulatedMessage[]
  /** The newest 1,000, oldest first; refused and failed ones too. */
  readonly calls: readonly SimulatedCall[]
  /** The newest 1,000 that were sent, oldest first. */
  readonly receipts: readonly SimulatedReceipt[]
  /** Queues faults: each is used up by one authenticated call that it fits, in order, before anything else is looked at. */
  failNext(...faults: Fault[]): void
  /** The next call received from now on, as soon as it is read, so before its answer. Rejects when the sandbox is stopped. */
  nextCall(): Promise<SimulatedCall>
  /** The next receipt from now on that has been answered or given up. Rejects when the sandbox is stopped. */
  nextReceipt(): Promise<SimulatedReceipt>
  /** Calls `listener` with a copy of each new or changed message. Returns an unsubscribe function. */
  onMessage(listener: (message: SimulatedMessage) => void): () => void
  /** Presses a key in a call, and resolves once what it leads to has been heard; to false where no key is waited for. */
  press(sid: string, key: string): Promise<boolean>
  /** Forgets every access token that was issued. */
  expireTokens(): void
  /** Forgets the messages, the calls, the receipts, sent or still waiting, and the pending faults. */
  clear(): void
}

const MAX_KEPT = 1_000
const JSON_TYPE = 'application/json;charset=utf-8'
/** Where the keys of a call's phone are pressed. */
const KEYS_PATH = /^\/messages\/(\w+)\/keys$/
const ALLOWED = new Map([
  ['/messages', 'GET, DELETE'],
  ['/faults', 'POST, DELETE'],
])

/**
 * Starts a server that speaks the APIs of all simulated vendors over plain HTTP and sends nothing.
 * What it took is shown at `GET /`, listed at `GET /messages` and forgotten by `DELETE /messages`; `POST /faults` sets what
 * goes wrong next, and `DELETE /faults` forgets it; `POST /messages/<sid>/keys` with `{"key":"1"}` presses a key in
 * a call that asks for one. Anyone who reaches the port may do so. Receipts go wherever a call asks for them. Disposing
 * cuts every connection and sends no more. Rejects when the port can't be had or the public key can't be read.
 */
export async function startSandbox(config: SandboxConfig): Promise<Sandbox> {
  const messages = createMessages(MAX_KEPT)
  const calls: SimulatedCall[] = []
  const faults: Fault[] = []
  const accounts: Readonly<Record<string, unknown>> = { ...config }
  const dialects = SIMULATED_VENDORS.flatMap(([name, vendor]) => vendor.dialects(accounts[name]))
  const phone = createPhone(messages.list, messages.onMessage)
  const stop = new AbortController()
  const next = createNext<SimulatedCall>()
  const keys = createKeys(messages)
  const receipts = createReceipts(config.receipts ?? 'delivered', move, keys)

  function move(message: SimulatedMessage, status: string, plan: ReceiptPlan): void {
    messages.change(message, { status, ...(message.awaits_key && plan.isOver?.(status) && { awaits_key: false }) })
  }

  async function handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const startedMs = performance.now()
    const text = await readBody(request)
    const { method = '', headers } = request
    const path = (request.url ?? '').split('?', 1)[0] ?? ''
    const dialect = dialects.find(({ owns }) => owns(path))
    if (!dialect) {
      if (phone.serve(request, response)) return
      const answer = await control(method, path, text)
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
    { target, phone, refusal, accept }: Exchange,
    dialect: Dialect,
    call: Pick<SimulatedCall, 'headers' | 'form' | 'json'>,
    response: ServerResponse,
    startedMs: number,
  ): Promise<void> {
    if (PROVIDERS.has(target)) record(target, call)
    const fault = takeFault(faults, target, phone)
    const sent = fault?.sent && !refusal ? await keep(accept(), fault) : undefined
    if (fault?.latencyMs) await delay(fault.latencyMs, undefined, { signal: stop.signal })
    response.setHeaders(new Map(Object.entries(dialect.headers(startedMs))))
    if (fault && performFault(fault, dialect, response, stop.signal)) return sent?.follow()
    if (refusal) return send(response, refusal)
    const kept = sent ?? (await keep(accept(), fault))
    send(response, kept.answer)
    kept.follow()
  }

  function record(provider: string, { headers, ...body }: Pick<SimulatedCall, 'headers' | 'form' | 'json'>) {
    const { authorization: _secret, ...rest } = headers
    const call = { provider, atMs: performance.now(), headers: rest, ...body }
    calls.push(call)
    if (calls.length > MAX_KEPT) calls.shift()
    next.resolve(call)
  }

  /** Keeps what was sent; `follow` is for when the call has been answered. */
  async function keep({ answer, message, plan }: ReturnType<Exchange['accept']>, fault?: Fault) {
    if (message && plan?.keyPress) {
      message.awaits_key = true
      keys.ask(message, plan.keyPress)
    }
    if (message) messages.add(message)
    return { answer, follow: message && plan ? await receipts.follow(message, plan, fault?.receipts) : () => {} }
  }

  function forgetMessages(...others: unknown[][]): undefined {
    receipts.clear()
    forget(messages.list, calls, ...others)
    phone.refresh()
  }

  async function pressKey(sid: string, body: unknown): Promise<Answer | undefined> {
    const key = isObject(body) ? body.key : undefined
    if (typeof key !== 'string' || !/^[0-9*#]$/.test(key)) return problems(400, ['key must be one of 0 to 9, * and #'])
    return (await keys.press(sid, key)) ? undefined : problems(409, [`no call ${sid} waits for a key`])
  }

  /** What the addresses for people and tests answer; nothing is a success without a body. */
  async function control(method: string, path: string, text: string | undefined): Promise<Answer | undefined> {
    if (text === undefined) return problems(413, ['the body is over 64 KiB'])
    const [, sid] = KEYS_PATH.exec(path) ?? []
    if (sid && method === 'POST') return pressKey(sid, parseJson(text))
    switch (`${method} ${path}`) {
      case 'GET /messages':
        return { status: 200, type: JSON_TYPE, body: messages.list }
      case 'DELETE /messages':
        return forgetMessages()
      case 'POST /faults': {
        const parsed = parseFaults(text)
        if ('problems' in parsed) return problems(400, parsed.problems)
        faults.push(...parsed.faults)
        return undefined
      }
      case 'DELETE /faults':
        return forget(faults)
    }
    const allowed = sid ? 'POST' : ALLOWED.get(path)
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
    messages: messages.list,
    calls,
    receipts: receipts.sent,
    failNext: (...added) => void faults.push(...added),
    nextCall: next.wait,
    nextReceipt: receipts.next,
    onMessage: messages.onMessage,
    press: keys.press,
    expireTokens() {
      for (const dialect of dialects) dialect.expireTokens?.()
    },
    clear: () => forgetMessages(faults),
    async [Symbol.asyncDispose]() {
      stop.abort()
      next.stop()
      receipts.stop()
      const closed = new Promise((resolve) => server.close(resolve))
      server.closeAllConnections()
      await closed
    },
  }
}

function problems(status: number, list: string[]): Answer {
  return { status, type: JSON_TYPE, body: { problems: list } }
}

function forget(...lists: unknown[][]): undefined {
  for (const list of lists) list.length = 0
}
