import { createClient } from '@connectrpc/connect'
import { createGrpcTransport } from '@connectrpc/connect-node'
import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { RoutingService } from '../../gen/bank/signature/v1/routing_pb.ts'
import { DeliveryStatus, SignatureService, SignatureStatus } from '../../gen/bank/signature/v1/signature_pb.ts'
import { loadConfig } from '../../src/config.ts'
import type { VendorSecret } from '../../src/providers/vendor.ts'
import { VENDORS } from '../../src/providers/vendors.ts'
import { startServer } from '../../src/server.ts'
import { type App, codeIn, startApp, startRequest, transaction } from '../support/app.ts'
import { type Acme, acme, acmeSignature, startAcme } from '../support/made-up-vendor.ts'
import { publish, route } from '../support/routing.ts'
import { type SecretPlace, secretFiles, secretsInVault, secretsOf } from '../support/secret-places.ts'

/** All that is done for a new vendor is to put its object into this list. */
const vendors = [...VENDORS, acme]

const SECRETS = { ACME_TOKEN: 'first-token', ACME_FROM: 'BANK' }

let app: App
let server: Acme
beforeAll(async () => {
  app = await startApp()
  server = await startAcme()
})
afterAll(async () => {
  await app[Symbol.asyncDispose]()
  await server[Symbol.asyncDispose]()
})

async function startWithAcme(env: Record<string, string>) {
  const config = await loadConfig({ ...app.env, ACME_API_URL: server.url, ...env }, undefined, { vendors })
  const logs: { msg?: string; secrets?: string[] }[] = []
  const replica = await startServer(config, { log: { write: (line) => void logs.push(JSON.parse(line)) } })
  const transport = createGrpcTransport({ baseUrl: `http://127.0.0.1:${replica.grpcPort}` })
  return {
    logs,
    httpPort: replica.httpPort,
    client: createClient(SignatureService, transport),
    routing: createClient(RoutingService, transport),
    [Symbol.asyncDispose]: () => replica[Symbol.asyncDispose](),
  }
}

type Replica = Awaited<ReturnType<typeof startWithAcme>>

/** Signs by a code that Acme was given, once its receipt has been read. Returns the call that Acme got. */
async function signOverAcme({ client }: Pick<Replica, 'client'>, token: string) {
  const { signature, challenge } = await client.startSignature(startRequest())
  expect(challenge).toMatchObject({ provider: 'acme-sms', providerChallengeId: `message-${server.calls.length}` })
  const call = server.calls.at(-1)
  if (!signature || !challenge || !call) throw new Error('Acme was not called')
  expect(await tellOf(call.tell, challenge.providerChallengeId, token)).toBe(200)
  const told = await client.getChallenge({ challengeId: challenge.id })
  expect(told.challenge?.deliveryStatus).toBe(DeliveryStatus.DELIVERED)
  const completed = await client.completeSignature({
    signatureId: signature.id,
    code: codeIn(call.text),
    transaction: transaction(),
  })
  expect(completed.signature?.status).toBe(SignatureStatus.SIGNED)
  return call
}

/** Sends the receipt of a message. Returns the HTTP status. */
async function tellOf(url: string, body: string, token: string): Promise<number> {
  const headers = { 'x-acme-signature': acmeSignature(token, body) }
  return (await fetch(url, { method: 'POST', headers, body })).status
}

test('a vendor in the environment is routed to and called, and its receipt is read', async () => {
  await using replica = await startWithAcme({ ...SECRETS, ACME_TIMEOUT_SECONDS: '2' })
  await publish(replica, [route(1, { SMS: ['acme-sms'] })])
  const { authorization, from, tell } = await signOverAcme(replica, 'first-token')
  expect({ authorization, from }).toEqual({ authorization: 'first-token', from: 'BANK' })
  expect(await tellOf(tell, 'message-1', 'forged-token')).toBe(403)
  const { providers } = await replica.routing.listProviders({})
  expect(providers.map(({ name }) => name)).toContain('acme-sms')
})

test.for<[string, (secrets: Record<string, string>) => Promise<SecretPlace>]>([
  ['files', secretFiles],
  ['Vault', secretsInVault],
])('a vendor in %s is called, and its next token is taken over while the process runs', async ([, put]) => {
  await using place = await put({ ...secretsOf(app.env), ...SECRETS })
  await using replica = await startWithAcme({ ...place.env, SECRETS_REFRESH_SECONDS: '1' })
  await publish(replica, [route(1, { SMS: ['acme-sms'] })])
  expect(await signOverAcme(replica, 'first-token')).toMatchObject({ authorization: 'first-token' })
  await place.put({ ACME_TOKEN: 'second-token' })
  await vi.waitFor(
    () => expect(replica.logs).toContainEqual(expect.objectContaining({ secrets: ['ACME_TOKEN'] })),
    20_000,
  )
  expect(await signOverAcme(replica, 'second-token')).toMatchObject({ authorization: 'second-token' })
})

test('a vendor whose credentials are too few is never left out in silence, whatever its description says', async () => {
  const from = { ...acme.secrets.from, need: 'never' } as VendorSecret
  const careless = { ...acme, secrets: { ...acme.secrets, from } }
  await expect(loadConfig({ ACME_TOKEN: 'token' }, undefined, { vendors: [careless] })).rejects.toMatchObject({
    problems: ['ACME_*: must be complete'],
  })
})

test('what is missing or wrong of a vendor is named, and one vendor is enough in production', async () => {
  const load = (env: Record<string, string>) => loadConfig(env, undefined, { vendors })
  await expect(load({ ACME_TOKEN: 'a token', ACME_TIMEOUT_SECONDS: 'long' })).rejects.toMatchObject({
    problems: [
      'ACME_TIMEOUT_SECONDS: must be a number of seconds from 0.001 to 60',
      'ACME_FROM: is required with the other Acme credentials; set ACME_FROM or ACME_FROM_FILE',
      'ACME_TOKEN: must be a token without white space',
    ],
  })
  const { CODE_KEYS = '', PII_KEYS = '', INDEX_KEY = '' } = app.env
  const production = {
    NODE_ENV: 'production',
    DATABASE_URL: 'postgres://127.0.0.1/bank',
    CODE_KEYS,
    PII_KEYS,
    INDEX_KEY,
  }
  await expect(load(production)).rejects.toThrow(
    'TWILIO_*, VONAGE_*, FCM_SERVICE_ACCOUNT or ACME_*: the credentials of at least one',
  )
  expect(Object.keys((await load({ ...production, ...SECRETS })).vendors)).toEqual(['acme'])
})
