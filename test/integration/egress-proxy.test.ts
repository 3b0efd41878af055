import { once } from 'node:events'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { type AddressInfo, connect as connectTo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createServer } from 'node:tls'
import { createClient } from '@connectrpc/connect'
import { createGrpcTransport } from '@connectrpc/connect-node'
import { afterAll, expect, inject, test } from 'vitest'
import { RoutingService } from '../../gen/bank/signature/v1/routing_pb.ts'
import { startSandbox } from '../../src/sandbox/sandbox.ts'
import { sandboxSettings } from '../../src/sandbox/sandbox-accounts.ts'
import { startRequest } from '../support/app.ts'
import { startConnectProxy } from '../support/connect-proxy.ts'
import { startFakeVault } from '../support/fake-vault.ts'
import { publish, route } from '../support/routing.ts'
import { selfSigned } from '../support/self-signed.ts'
import { connect, killLeftovers, ownDatabase, run, serve } from '../support/service-process.ts'

const running = new AsyncDisposableStack()
afterAll(async () => {
  killLeftovers()
  await running.disposeAsync()
})

test('with HTTPS_PROXY alone, secrets are read and messages sent through the proxy', async () => {
  const proxy = running.use(await startConnectProxy())
  const accounts = inject('accounts')
  const sandbox = running.use(await startSandbox({ host: '127.0.0.1', port: 0, receipts: 'none', ...accounts }))
  const vault = running.use(await startFakeVault())
  const certificates = [
    await putBehindTls('vendor.example', sandbox.port),
    await putBehindTls('vault.example', Number(new URL(vault.url).port)),
  ]
  const directory = await mkdtemp(join(tmpdir(), 'egress-proxy-'))
  running.defer(() => rm(directory, { recursive: true }))
  const authorities = join(directory, 'authorities.pem')
  await writeFile(authorities, certificates.join(''))

  const vendorUrl = 'https://vendor.example'
  const secrets = sandboxSettings(accounts, vendorUrl)
  const { DATABASE_URL, CODE_KEYS, PII_KEYS, INDEX_KEY } = await ownDatabase()
  const store = (path: string, fields: object) => vault.secrets.set(`signature-router/${path}`, { ...fields })
  store('database', { url: DATABASE_URL })
  store('keys', { 'code-keys': CODE_KEYS, 'pii-keys': PII_KEYS, 'index-key': INDEX_KEY })
  store('providers/twilio', {
    'account-sid': secrets.TWILIO_ACCOUNT_SID,
    'auth-token': secrets.TWILIO_AUTH_TOKEN,
    'from-number': secrets.TWILIO_FROM_NUMBER,
  })
  store('providers/vonage', {
    'api-key': secrets.VONAGE_API_KEY,
    'api-secret': secrets.VONAGE_API_SECRET,
    from: secrets.VONAGE_FROM,
  })
  store('providers/fcm', { 'service-account': secrets.FCM_SERVICE_ACCOUNT })
  await using service = await serve({
    HTTPS_PROXY: proxy.url,
    PUBLIC_WEBHOOK_URL: 'http://127.0.0.1:0',
    NODE_EXTRA_CA_CERTS: authorities,
    SECRETS_SOURCE: 'vault',
    VAULT_ADDR: 'https://vault.example',
    VAULT_TOKEN: vault.token,
    TWILIO_API_URL: vendorUrl,
    VONAGE_API_URL: vendorUrl,
    FCM_API_URL: vendorUrl,
  })
  const routing = createClient(RoutingService, createGrpcTransport({ baseUrl: service.grpcUrl }))
  const providers = ['twilio-sms', 'twilio-voice', 'vonage-sms', 'fcm-push']
  const channel = (provider: string) =>
    ({ push: 'PUSH', sms: 'SMS', voice: 'VOICE' })[provider.split('-')[1] ?? ''] ?? ''
  const rows = providers.map((provider, n) =>
    route(n + 1, { [channel(provider)]: [provider] }, { customerSegment: provider }),
  )
  await publish({ routing }, rows)

  for (const customerSegment of providers) {
    await connect(service.grpcUrl).startSignature(startRequest({ customerSegment, pushToken: 'a-token' }))
  }

  expect(sandbox.messages.map(({ provider }) => provider)).toEqual(providers.toReversed())
  const targets = new Set(proxy.requests.map(({ method, target }) => `${method} ${target}`))
  expect([...targets].toSorted()).toEqual(['CONNECT vault.example:443', 'CONNECT vendor.example:443'])

  /** Lets the proxy reach a port under the name of a host, whose certificate it returns. */
  async function putBehindTls(host: string, port: number): Promise<string> {
    const credentials = selfSigned(host)
    const server = createServer(credentials, (inward) => {
      const outward = connectTo(port, '127.0.0.1')
      for (const socket of [inward, outward]) socket.on('error', () => {})
      inward.pipe(outward).pipe(inward)
    })
    server.on('tlsClientError', () => {}).listen(0, '127.0.0.1')
    await once(server, 'listening')
    running.defer(() => void server.close())
    proxy.hosts.set(host, (server.address() as AddressInfo).port)
    return credentials.cert
  }
}, 60_000)

test('an address of a proxy that is none stops the start, and is not told', async () => {
  await using service = run([], { HTTPS_PROXY: 'canary-user:canary-password@proxy.internal:3128' })

  expect(await service.ended).toEqual({
    code: 1,
    signal: null,
    stdout: '',
    stderr: 'HTTPS_PROXY: must be an http or https URL, user and password percent-encoded\n',
  })
})
