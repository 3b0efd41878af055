import { once } from 'node:events'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { createServer, type IncomingHttpHeaders } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { createFcmPush } from '../../src/providers/fcm/fcm-push.ts'
import {
  createTokenSource,
  type ExternalAccount,
  type GoogleCredentials,
} from '../../src/providers/fcm/google-token-source.ts'
import { challengeMessage, failureOf, never } from '../support/provider-contract.ts'

const NOW = new Date('2026-01-02T03:04:05.000Z')
const FCM = 'https://www.googleapis.com/auth/firebase.messaging'

interface Request {
  target: string
  headers: IncomingHttpHeaders
  body: string
}

/** Google's endpoints and an identity provider's, all on one server: what they received, and what each answers. */
let requests: Request[]
let answers: Record<string, { status?: number; body: unknown }>
let url: string
let directory: string
let close: () => void

beforeEach(async () => {
  requests = []
  answers = {
    '/sts': { body: { access_token: 'federated', expires_in: 3_000, issued_token_type: 'x', token_type: 'Bearer' } },
    '/impersonate': { body: { accessToken: 'impersonated', expireTime: '2026-01-02T04:04:05Z' } },
    '/identity': { body: { access_token: 'from-the-cluster' } },
    '/computeMetadata/v1/instance/service-accounts/default/token': {
      body: { access_token: 'of-the-machine', expires_in: 1_800, token_type: 'Bearer' },
    },
    '/computeMetadata/v1/project/project-id': { body: 'bank-project' },
    '/v1/projects/bank-project/messages:send': { body: { name: 'projects/bank-project/messages/1' } },
  }
  const server = createServer(async (request, response) => {
    const { url: target = '', headers } = request
    requests.push({ target, headers, body: await text(request) })
    const { status = 200, body } = answers[target.split('?', 1)[0] ?? ''] ?? { status: 404, body: '' }
    response.writeHead(status).end(typeof body === 'string' ? body : JSON.stringify(body))
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  close = () => {
    server.close()
    server.closeAllConnections()
  }
  directory = await mkdtemp(join(tmpdir(), 'subject-token-'))
})
afterEach(async () => {
  close()
  await rm(directory, { recursive: true })
})

describe('an external account', () => {
  test('exchanges the subject token of a file, as it is at that moment, for an access token', async () => {
    const file = join(directory, 'token')
    await writeFile(file, 'first.subject.token\n')
    const source = tokenSource(external({ source: { file, field: undefined } }))
    expect(await source(never())).toEqual({ value: 'federated', seconds: 3_000 })
    await writeFile(file, 'second.subject.token')
    await source(never())

    const [first, second] = requests.map(({ body }) => Object.fromEntries(new URLSearchParams(body)))
    expect(first).toEqual({
      grant_type: 'urn:ietf:params:oauth:grant-type:token-exchange',
      audience: '//iam.googleapis.com/the-pool',
      scope: FCM,
      requested_token_type: 'urn:ietf:params:oauth:token-type:access_token',
      subject_token: 'first.subject.token',
      subject_token_type: 'urn:ietf:params:oauth:token-type:jwt',
    })
    expect(second?.subject_token).toBe('second.subject.token')
  })

  test('asks a URL for its subject token, with the headers that it wants, and finds it in JSON', async () => {
    const source = { url: `${url}/identity?resource=api`, headers: { Metadata: 'True' }, field: 'access_token' }
    await tokenSource(external({ source }))(never())

    expect(requests[0]).toMatchObject({ target: '/identity?resource=api', headers: { metadata: 'True' } })
    expect(new URLSearchParams(requests[1]?.body).get('subject_token')).toBe('from-the-cluster')
  })

  test('acts as a service account when it is told one', async () => {
    const credentials = external({ impersonationUrl: `${url}/impersonate`, lifetimeSeconds: 1_200 })
    expect(await tokenSource(credentials)(never())).toEqual({ value: 'impersonated', seconds: 3_600 })

    const [, exchanged, impersonated] = requests
    expect(new URLSearchParams(exchanged?.body).get('scope')).toBe('https://www.googleapis.com/auth/cloud-platform')
    expect(impersonated).toMatchObject({ target: '/impersonate', headers: { authorization: 'Bearer federated' } })
    expect(JSON.parse(impersonated?.body ?? '')).toEqual({ scope: [FCM], lifetime: '1200s' })
  })

  test.each([
    ['/identity', { status: 200, body: 'not json' }, 'NO_SUBJECT_TOKEN', 'ours'],
    ['/identity', { status: 403, body: 'no' }, 'HTTP_403', 'ours'],
    ['/sts', { status: 400, body: { error: 'invalid_grant', error_description: 'secret' } }, 'invalid_grant', 'ours'],
    ['/sts', { status: 503, body: '' }, 'HTTP_503', 'transient'],
    ['/sts', { status: 200, body: {} }, 'UNUSABLE_TOKEN', 'transient'],
    ['/impersonate', { status: 403, body: { error: { status: 'PERMISSION_DENIED' } } }, 'permission_denied', 'ours'],
    ['/impersonate', { status: 200, body: { accessToken: 'x', expireTime: 'soon' } }, 'UNUSABLE_TOKEN', 'transient'],
  ])('whose %s answers %o fails with %s, which is %s', async (path, answer, providerErrorCode, failureClass) => {
    answers[path] = answer
    const credentials = external({ impersonationUrl: `${url}/impersonate` })
    expect(await failureOf(tokenSource(credentials)(never()))).toMatchObject({ providerErrorCode, failureClass })
  })

  test('whose file is not there fails, which is ours', async () => {
    const source = { file: join(directory, 'gone'), field: undefined }
    expect(await failureOf(tokenSource(external({ source }))(never()))).toMatchObject({
      providerErrorCode: 'NO_SUBJECT_TOKEN',
      failureClass: 'ours',
    })
    expect(requests).toEqual([])
  })
})

describe('the metadata server', () => {
  test('gives the access token of the account that the machine or pod runs as', async () => {
    const source = tokenSource({ type: 'metadata_server', url })
    expect(await source(never())).toEqual({ value: 'of-the-machine', seconds: 1_800 })
    expect(requests[0]?.headers['metadata-flavor']).toBe('Google')
    expect(new URLSearchParams(requests[0]?.target.split('?')[1]).get('scopes')).toBe(FCM)
  })

  test('is asked for the project once, unless the settings name it', async () => {
    const provider = push(undefined)
    for (const _ of [1, 2]) await provider.sendChallenge(challengeMessage(NOW), never())
    const asked = requests.map(({ target }) => target.split('?', 1)[0])
    const send = '/v1/projects/bank-project/messages:send'
    const token = '/computeMetadata/v1/instance/service-accounts/default/token'
    expect(asked).toEqual([token, '/computeMetadata/v1/project/project-id', send, send])
    expect(requests.at(-1)?.headers.authorization).toBe('Bearer of-the-machine')

    requests = []
    await push('bank-project').sendChallenge(challengeMessage(NOW), never())
    expect(requests.map(({ target }) => target.split('?', 1)[0])).toEqual([token, send])
  })

  test('that knows no project fails, and nothing is sent', async () => {
    answers['/computeMetadata/v1/project/project-id'] = { body: '<html>' }
    expect(await failureOf(push(undefined).sendChallenge(challengeMessage(NOW), never()))).toMatchObject({
      providerErrorCode: 'UNUSABLE_PROJECT',
      failureClass: 'transient',
    })
  })

  function push(projectId: string | undefined) {
    const credentials = { type: 'metadata_server' as const, url }
    return createFcmPush({ credentials, projectId, apiUrl: url, timeoutMs: 5_000, clock: () => NOW })
  }
})

function tokenSource(credentials: GoogleCredentials) {
  return createTokenSource({ provider: 'fcm-push', credentials, scope: FCM, clock: () => NOW })
}

function external(fields: Partial<ExternalAccount>): ExternalAccount {
  return {
    type: 'external_account',
    audience: '//iam.googleapis.com/the-pool',
    subjectTokenType: 'urn:ietf:params:oauth:token-type:jwt',
    tokenUrl: `${url}/sts`,
    impersonationUrl: undefined,
    lifetimeSeconds: 3_600,
    source: { url: `${url}/identity`, headers: {}, field: 'access_token' },
    ...fields,
  }
}
