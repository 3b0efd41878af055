import { once } from 'node:events'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { json } from 'node:stream/consumers'

/** How the fake answers: as Vault does, or in one of the ways it fails. */
export type VaultMode = 'normal' | 'forbidden' | 'missing' | 'sealed' | 'redirect' | 'hang' | 'garbage' | 'huge'

export interface FakeVault extends AsyncDisposable {
  readonly url: string
  mode: VaultMode
  /** The token that reads need, and that logins give. */
  token: string
  /** How long a login's token is said to live. */
  leaseSeconds: number
  /** What the body of a login must be, by the path of the auth method's mount. */
  readonly logins: Map<string, Record<string, string>>
  /** The fields of each secret, by its path in the KV v2 engine mounted at `secret`. */
  readonly secrets: Map<string, Record<string, unknown>>
  /** Every request, in order. */
  readonly requests: { method: string; path: string; headers: IncomingMessage['headers'] }[]
}

/** Starts a server on loopback that speaks as much of Vault's HTTP as is needed to log in and read secrets. */
export async function startFakeVault(): Promise<FakeVault> {
  const server = createServer((request, response) => void answer(vault, request, response))
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const vault: FakeVault = {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    mode: 'normal',
    token: 'hvs.fake-vault-token',
    leaseSeconds: 0,
    logins: new Map(),
    secrets: new Map(),
    requests: [],
    async [Symbol.asyncDispose]() {
      server.close()
      server.closeAllConnections()
      await once(server, 'close')
    },
  }
  return vault
}

async function answer(vault: FakeVault, request: IncomingMessage, response: ServerResponse): Promise<void> {
  const { method = '', url: path = '', headers } = request
  vault.requests.push({ method, path, headers })
  const reply = (status: number, body: unknown) => void response.writeHead(status).end(JSON.stringify(body))
  const refuse = (status: number, ...errors: string[]) => reply(status, { errors })

  if (vault.mode === 'hang') return
  if (vault.mode === 'forbidden') return refuse(403, 'permission denied')
  if (vault.mode === 'missing') return refuse(404)
  if (vault.mode === 'sealed') return refuse(503, 'Vault is sealed')
  if (vault.mode === 'redirect') return void response.writeHead(307, { location: `${vault.url}/v1/elsewhere` }).end()
  if (vault.mode === 'garbage') return void response.end(`<html>${vault.token}</html>`)
  if (vault.mode === 'huge') return reply(200, { data: { data: { url: 'x'.repeat(70_000) } } })

  const [, mount] = /^\/v1\/auth\/(.+)\/login$/.exec(path) ?? []
  if (method === 'POST' && mount) {
    const expected = vault.logins.get(mount)
    if (!expected) return refuse(404, 'no handler for route')
    const given = (await json(request)) as Record<string, unknown>
    const accepted = Object.entries(expected).every(([name, value]) => given[name] === value)
    return accepted
      ? reply(200, { auth: { client_token: vault.token, lease_duration: vault.leaseSeconds } })
      : refuse(400, 'invalid role or secret ID')
  }
  if (headers['x-vault-token'] !== vault.token) return refuse(403, 'permission denied', 'invalid token')
  const [, secret] = /^\/v1\/secret\/data\/(.+)$/.exec(path) ?? []
  const fields = vault.secrets.get(secret ?? '')
  return method === 'GET' && fields ? reply(200, { data: { data: fields, metadata: { version: 1 } } }) : refuse(404)
}
