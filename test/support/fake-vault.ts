import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { json } from 'node:stream/consumers'

/** What a request is answered with: as Vault does, or in one of the ways it fails. */
export type VaultMode = 'normal' | 'forbidden' | 'missing' | 'sealed' | 'redirect' | 'hang' | 'garbage' | 'huge'

/** What a token is good for: https://developer.hashicorp.com/vault/docs/concepts/tokens */
export interface TokenTerms {
  ttlSeconds: number
  /** From its issue on; renewals don't reach beyond. */
  maxTtlSeconds: number
  renewable: boolean
  /** Requests; 0 is any number. */
  uses: number
}

interface IssuedToken extends TokenTerms {
  issuedAtMs: number
  endsAtMs: number
  usesLeft: number
}

export interface FakeVault extends AsyncDisposable {
  readonly url: string
  mode: VaultMode
  /** A token that is there from the start, and has the terms of those that follow. */
  readonly token: string
  /** The terms of tokens that are issued from now on. */
  terms: TokenTerms
  /** What the body of a login must be, by the path of the auth method's mount. */
  readonly logins: Map<string, Record<string, string>>
  /** How often a login may still succeed, as with secret ids of so many uses. */
  loginsLeft: number
  /** The fields of each secret, by its path in the KV v2 engine mounted at `secret`. */
  readonly secrets: Map<string, Record<string, unknown>>
  /** Those of them that no token may read. */
  readonly forbidden: Set<string>
  /** Every request, in order. */
  readonly requests: { method: string; path: string; headers: IncomingMessage['headers'] }[]
  issue(token?: string): string
  /** Every token that was issued is unknown from now on. */
  revokeAll(): void
}

const NEVER_ENDS: TokenTerms = { ttlSeconds: 0, maxTtlSeconds: Infinity, renewable: false, uses: 0 }

/** Starts a server on loopback that speaks as much of Vault's HTTP as is needed to log in, stay so, and read secrets. */
export async function startFakeVault(): Promise<FakeVault> {
  const server = createServer((request, response) => void answer(vault, tokens, request, response))
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const tokens = new Map<string, IssuedToken>()
  const vault: FakeVault = {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    mode: 'normal',
    token: 'hvs.fake-vault-token',
    terms: NEVER_ENDS,
    logins: new Map(),
    loginsLeft: Infinity,
    secrets: new Map(),
    forbidden: new Set(),
    requests: [],
    issue(token = `hvs.${randomUUID()}`) {
      const { terms } = vault
      const issuedAtMs = performance.now()
      const endsAtMs = issuedAtMs + (terms.ttlSeconds * 1_000 || Infinity)
      tokens.set(token, { ...terms, issuedAtMs, endsAtMs, usesLeft: terms.uses || Infinity })
      return token
    },
    revokeAll: () => tokens.clear(),
    async [Symbol.asyncDispose]() {
      server.close()
      server.closeAllConnections()
      await once(server, 'close')
    },
  }
  vault.issue(vault.token)
  return vault
}

async function answer(
  vault: FakeVault,
  tokens: Map<string, IssuedToken>,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
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
    if (!accepted || vault.loginsLeft === 0) return refuse(400, 'invalid role or secret ID')
    vault.loginsLeft -= 1
    return reply(200, authOf(vault.issue()))
  }

  const name = String(headers['x-vault-token'])
  const token = use(name)
  if (!token) return refuse(403, 'permission denied', 'invalid token')
  if (`${method} ${path}` === 'GET /v1/auth/token/lookup-self') {
    return reply(200, { data: { id: name, ttl: secondsLeft(token), renewable: token.renewable } })
  }
  if (`${method} ${path}` === 'POST /v1/auth/token/renew-self') {
    if (!token.renewable) return refuse(400, 'lease is not renewable')
    const end = Math.min(performance.now() + token.ttlSeconds * 1_000, token.issuedAtMs + token.maxTtlSeconds * 1_000)
    token.endsAtMs = Math.max(end, token.endsAtMs)
    return reply(200, authOf(name))
  }
  const [, secret] = /^\/v1\/secret\/data\/(.+)$/.exec(path) ?? []
  if (secret && vault.forbidden.has(secret)) return refuse(403, 'permission denied')
  const fields = vault.secrets.get(secret ?? '')
  return method === 'GET' && fields ? reply(200, { data: { data: fields, metadata: { version: 1 } } }) : refuse(404)

  /** The token, one use of which is over; undefined when there is none, or no longer. */
  function use(name: string): IssuedToken | undefined {
    const token = tokens.get(name)
    if (!token || token.usesLeft === 0 || performance.now() >= token.endsAtMs) return undefined
    token.usesLeft -= 1
    return token
  }

  function authOf(name: string) {
    const token = tokens.get(name)
    if (!token) throw new Error('no such token')
    const { renewable, uses } = token
    return { auth: { client_token: name, lease_duration: secondsLeft(token), renewable, num_uses: uses } }
  }
}

/** 0 stands for ever. */
function secondsLeft({ endsAtMs }: IssuedToken): number {
  return endsAtMs === Infinity ? 0 : Math.round((endsAtMs - performance.now()) / 1_000)
}
