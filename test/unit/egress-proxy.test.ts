import { once } from 'node:events'
import { createServer, type RequestListener } from 'node:http'
import { createServer as createTlsServer } from 'node:https'
import { type AddressInfo, createServer as createTcpServer, type Server } from 'node:net'
import { getCACertificates, setDefaultCACertificates } from 'node:tls'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { ConfigError } from '../../src/config.ts'
import { useEgressProxy } from '../../src/egress-proxy.ts'
import { exchange } from '../../src/providers/http-exchange.ts'
import { ProviderError } from '../../src/providers/provider.ts'
import { type ConnectProxy, type ProxyMode, startConnectProxy } from '../support/connect-proxy.ts'
import { selfSigned } from '../support/self-signed.ts'

const VENDOR = 'vendor.example'
const SILENT = 'silent.example'
/** A label of more than 63 characters: no name server needs to be asked. */
const INSIDE = `${'x'.repeat(64)}.example`
const POST = { method: 'POST', headers: { 'x-sent': 'yes' }, body: 'a=1' }

const REFUSALS: [what: string, mode: ProxyMode][] = [
  ['407', { answer: 'HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n' }],
  ['403', { answer: 'HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n' }],
  ['502', { answer: 'HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n' }],
  ['no HTTP', { answer: 'SSH-2.0-OpenSSH\r\n' }],
  ['nothing', { answer: '' }],
  ['a reset', 'reset'],
  ['nothing ever', 'hang'],
]

let proxy: ConnectProxy
/** What the vendor does with a request once it has it. */
let answer: RequestListener
let received: string[]
const running = new AsyncDisposableStack()

beforeAll(async () => {
  proxy = running.use(await startConnectProxy())
  const credentials = selfSigned(VENDOR)
  const authorities = getCACertificates()
  setDefaultCACertificates([...authorities, credentials.cert])
  running.defer(() => setDefaultCACertificates(authorities))
  const vendor: RequestListener = (request, response) => {
    received.push(`${request.method} ${request.headers.host} ${request.url}`)
    answer(request, response)
  }
  proxy.hosts.set(VENDOR, await listen(createTlsServer(credentials, vendor)))
  proxy.hosts.set(`plain.${VENDOR}`, await listen(createServer(vendor)))
  // It is connected to, and never shakes hands.
  proxy.hosts.set(SILENT, await listen(createTcpServer((socket) => socket.on('error', () => {}).resume())))
  const { host } = new URL(proxy.url)
  const url = `http://router:p%40ss@${host}`
  running.defer(useEgressProxy({ HTTPS_PROXY: url, HTTP_PROXY: url, NO_PROXY: INSIDE }))
})
afterAll(() => running.disposeAsync())
beforeEach(() => {
  proxy.mode = 'normal'
  proxy.requests.length = 0
  received = []
  answer = (_, response) => response.writeHead(201).end('{}')
})

describe('through a proxy', () => {
  test("a call reaches its provider in a tunnel, with the credentials in the proxy's address", async () => {
    expect(await exchange('twilio-sms', `https://${VENDOR}/path`, POST, never())).toMatchObject({ status: 201 })

    const authorization = `Basic ${Buffer.from('router:p@ss').toString('base64')}`
    expect(asked(`${VENDOR}:443`)).toEqual([{ method: 'CONNECT', target: `${VENDOR}:443`, authorization }])
    expect(received).toEqual([`POST ${VENDOR} /path`])
  })

  test.each(REFUSALS)('to which the proxy answers %s nothing was written of a call', async (_, mode) => {
    proxy.mode = mode

    // To another host, so that no tunnel is there yet.
    expect(
      await failureOf('https://other.example/', mode === 'hang' ? AbortSignal.timeout(300) : never()),
    ).toMatchObject({
      failureClass: 'transient',
      ...(mode === 'hang' && { providerErrorCode: 'TIMEOUT' }),
    })
    expect(asked('other.example:443')).toMatchObject([{ method: 'CONNECT' }])
  })

  test('when nobody listens there nothing was written of a call', async () => {
    const gone = await startConnectProxy()
    await gone[Symbol.asyncDispose]()
    using stack = new DisposableStack()
    stack.defer(useEgressProxy({ https_proxy: gone.url }))

    expect(await failureOf(`https://${VENDOR}/`)).toMatchObject({
      failureClass: 'transient',
      providerErrorCode: 'ECONNREFUSED',
    })
  })

  test('when the provider does not shake hands in the tunnel nothing was written of a call', async () => {
    expect(await failureOf(`https://${SILENT}/`, AbortSignal.timeout(300))).toMatchObject({
      failureClass: 'transient',
      providerErrorCode: 'TIMEOUT',
    })
    expect(asked(`${SILENT}:443`)).toHaveLength(1)
  })

  test('a call that was written and is not answered may have been carried out', async () => {
    const giveUp = new AbortController()
    answer = () => giveUp.abort()

    expect(await failureOf(`https://${VENDOR}/`, giveUp.signal)).toMatchObject({ failureClass: 'unknown' })
  })

  test('a call that was written and is reset may have been carried out', async () => {
    answer = (request) => request.socket.destroy()

    expect(await failureOf(`https://${VENDOR}/`)).toMatchObject({ failureClass: 'unknown' })
  })

  test('of many calls at once, each is judged by what became of its own request', async () => {
    const giveUp = new AbortController()
    answer = () => received.length === 10 && giveUp.abort()
    const hosts = Array.from({ length: 20 }, (_, n) => (n % 2 ? VENDOR : SILENT))
    const calls = hosts.map((host) => failureOf(`https://${host}/`, giveUp.signal))

    const classes = (await Promise.all(calls)).map(({ failureClass }) => failureClass)

    expect(classes).toEqual(hosts.map((host) => (host === VENDOR ? 'unknown' : 'transient')))
  })
})

describe('through a proxy without a tunnel', () => {
  const url = `http://plain.${VENDOR}/path`

  test('a call to http reaches its provider', async () => {
    expect(await exchange('twilio-sms', url, POST, never())).toMatchObject({ status: 201 })

    expect(asked(url)).toMatchObject([{ method: 'POST' }])
    expect(received).toEqual([`POST plain.${VENDOR} /path`])
  })

  test('a call that the proxy answers 407 was not passed on', async () => {
    proxy.mode = { answer: 'HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n' }

    expect(await failureOf(url)).toMatchObject({ failureClass: 'transient' })
  })

  test.each<[string, ProxyMode]>([
    ['a reset', 'reset'],
    ['no HTTP', { answer: 'SSH-2.0-OpenSSH\r\n' }],
  ])('a call that the proxy answers %s may have been passed on', async (_, mode) => {
    proxy.mode = mode

    expect(await failureOf(url)).toMatchObject({ failureClass: 'unknown' })
  })

  test('a call that is not answered may have been passed on', async () => {
    const giveUp = new AbortController()
    answer = () => giveUp.abort()

    expect(await failureOf(url, giveUp.signal)).toMatchObject({ failureClass: 'unknown' })
  })
})

describe('no proxy is asked', () => {
  test.each(['127.0.0.1', 'localhost'])('for %s, whatever NO_PROXY says', async (host) => {
    const port = proxy.hosts.get(`plain.${VENDOR}`)

    expect(await exchange('twilio-sms', `http://${host}:${port}/`, POST, never())).toMatchObject({ status: 201 })
    expect(asked(`http://${host}:${port}/`)).toEqual([])
  })

  test('for hosts that NO_PROXY names', async () => {
    expect(await failureOf(`http://${INSIDE}/`)).toMatchObject({ failureClass: 'transient' })
    expect(asked(`http://${INSIDE}/`)).toEqual([])
  })

  test('when NO_PROXY is *, or no proxy is named: all stays as it is', async () => {
    for (const env of [{ HTTPS_PROXY: proxy.url, NO_PROXY: '*' }, {}]) {
      useEgressProxy(env)
      // The proxy of the other tests is still there.
      await exchange('twilio-sms', `http://plain.${VENDOR}/`, POST, never())
    }
    expect(asked(`http://plain.${VENDOR}/`)).toHaveLength(2)
  })
})

test.each(['proxy.internal:3128', 'socks5://proxy.internal', 'http://', 'http://user:100%@proxy', 'http://proxy\n'])(
  'an address that is none stops the start: %o',
  (address) => {
    const start = () => useEgressProxy({ https_proxy: address, HTTP_PROXY: address })

    const rule = 'must be an http or https URL, user and password percent-encoded'
    expect(start).toThrow(new ConfigError([`HTTP_PROXY: ${rule}`, `https_proxy: ${rule}`]))
  },
)

/** What the proxy was asked for this target; to others it may still try to renew tunnels. */
function asked(target: string) {
  return proxy.requests.filter((request) => request.target === target)
}

function never(): AbortSignal {
  return new AbortController().signal
}

async function failureOf(url: string, signal = never()): Promise<ProviderError> {
  const error = await exchange('twilio-sms', url, POST, signal).catch((thrown) => thrown)
  if (!(error instanceof ProviderError)) throw new Error('expected a ProviderError', { cause: error })
  return error
}

async function listen(server: Server): Promise<number> {
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  running.defer(() => void server.close())
  return (server.address() as AddressInfo).port
}
