import { once } from 'node:events'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import { type AddressInfo, connect, type Socket } from 'node:net'

/** What a proxy does with a request: passes it on, or writes this and closes, or nothing of the kind. */
export type ProxyMode = 'normal' | 'hang' | 'reset' | { answer: string }

/** An egress proxy on loopback, for tunnels and for plain http, whose hosts are all ports on this machine. */
export interface ConnectProxy extends AsyncDisposable {
  readonly url: string
  mode: ProxyMode
  /** The port behind each host. */
  readonly hosts: Map<string, number>
  /** The method and the target of each request, and who asked. */
  readonly requests: { method: string | undefined; target: string | undefined; authorization: string | undefined }[]
}

export async function startConnectProxy(): Promise<ConnectProxy> {
  const sockets = new Set<Socket>()
  const keep = (socket: Socket): Socket => {
    sockets.add(socket)
    return socket.on('error', () => {})
  }

  /** Where to pass it on to; undefined when the mode has dealt with it. */
  function destination({ method, url, headers }: IncomingMessage, socket: Socket, host = ''): number | undefined {
    proxy.requests.push({ method, target: url, authorization: headers['proxy-authorization'] })
    const { mode } = proxy
    if (mode === 'normal') return proxy.hosts.get(host)
    if (mode === 'reset') socket.resetAndDestroy()
    else if (mode !== 'hang') socket.end(mode.answer)
    return undefined
  }

  const server = createServer((request: IncomingMessage, response: ServerResponse) => {
    const { hostname, pathname } = new URL(request.url ?? '')
    const port = destination(request, request.socket, hostname)
    if (!port) return
    const outward = keep(connect(port, '127.0.0.1'))
    const headers = request.rawHeaders.map((text, n) => text + (n % 2 ? '\r\n' : ': ')).join('')
    outward.write(`${request.method} ${pathname} HTTP/1.1\r\n${headers}\r\n`)
    request.pipe(outward, { end: false })
    response.detachSocket(request.socket)
    outward.pipe(request.socket)
  })
  server.on('connection', keep)
  server.on('connect', (request: IncomingMessage, inward: Socket, head: Buffer) => {
    const port = destination(request, inward, request.url?.replace(/:\d+$/, ''))
    if (!port) return
    const outward = keep(connect(port, '127.0.0.1'))
    inward.write('HTTP/1.1 200 Connection established\r\n\r\n')
    outward.write(head)
    inward.pipe(outward).pipe(inward)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const proxy: ConnectProxy = {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    mode: 'normal',
    hosts: new Map(),
    requests: [],
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy()
      server.close()
      await once(server, 'close')
    },
  }
  return proxy
}
