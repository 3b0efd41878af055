import { randomUUID } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { Code } from '@connectrpc/connect'
import { sql } from 'kysely'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { SignatureStatus } from '../../gen/bank/signature/v1/signature_pb.ts'
import {
  type App,
  codeIn,
  failure,
  randomKey,
  row,
  start,
  startApp,
  startRequest,
  timeline,
  transaction,
} from '../support/app.ts'
import { haveLogged, linesOf, readsThat, signSteadily } from '../support/rotation.ts'
import { route } from '../support/routing.ts'
import { type SecretPlace, secretFiles, secretsInVault, secretsOf } from '../support/secret-places.ts'

const QUICKLY = { SECRETS_REFRESH_SECONDS: '1' }
/** Reads only when it meets a key that it doesn't know. */
const SELDOM = { SECRETS_REFRESH_SECONDS: '3600' }

let app: App
/** The keys that everything was started with, and those that take their place, before them in the list. */
let first: { CODE_KEYS: string; PII_KEYS: string }
let rotated: { CODE_KEYS: string; PII_KEYS: string }

beforeAll(async () => {
  app = await startApp()
  const { CODE_KEYS = '', PII_KEYS = '' } = app.env
  first = { CODE_KEYS, PII_KEYS }
  rotated = { CODE_KEYS: `k2:${randomKey()},${CODE_KEYS}`, PII_KEYS: `p2:${randomKey()},${PII_KEYS}` }
})
afterAll(() => app[Symbol.asyncDispose]())

/** A replica that has read the new keys, and one that hasn't yet. */
async function oneAhead(place: SecretPlace) {
  const ahead = await app.replica({ ...place.env, ...QUICKLY })
  const behind = await app.replica({ ...place.env, ...SELDOM })
  await place.put(rotated)
  await haveLogged([ahead], 'secrets changed', { code_key_id: 'k2', pii_key_id: 'p2' })
  return { ahead, behind }
}

/** The ids of the keys that these signatures, their challenges and their attempts name. */
async function keyIdsOf(signatureIds: string[]): Promise<string[]> {
  const { rows } = await sql<{ ids: string }>`
    SELECT DISTINCT concat_ws(' ', phone_key_id, code_key_id, exchange_key_id) AS ids
    FROM signature JOIN challenge ON signature_id = signature.id JOIN attempt ON challenge_id = challenge.id
    WHERE signature.id = ANY(${signatureIds}) ORDER BY 1
  `.execute(app.db)
  return rows.map(({ ids }) => ids)
}

/** As if the last code had been sent a minute ago. */
async function waitForResend(signatureId: string): Promise<void> {
  await sql`
    UPDATE challenge SET created_at = created_at - interval '1 minute' WHERE signature_id = ${signatureId}
  `.execute(app.db)
}

const PLACES: [string, typeof secretFiles][] = [
  ['files', secretFiles],
  ['Vault', secretsInVault],
]

test.for(PLACES)('new current keys in %s fail no call of two busy replicas', async ([, put]) => {
  await using place = await put(secretsOf(app.env))
  const replicas = [
    await app.replica({ ...place.env, ...QUICKLY }),
    await app.replica({ ...place.env, ...QUICKLY }),
  ] as const
  const [one, other] = replicas
  const [completed, resent] = [await start(one), await start(other)]
  const load = signSteadily([...replicas])
  await load.more(20)
  const before = [...load.signed]

  await place.put(rotated)
  await haveLogged([...replicas], 'secrets changed', { code_key_id: 'k2', pii_key_id: 'p2' })
  const during = load.signed.length
  await load.more(40)
  // The first ones may have been started before.
  const after = load.signed.slice(during + 10)

  const { signatureId } = completed
  const answer = await other.client.completeSignature({ signatureId, code: completed.code, transaction: transaction() })
  expect(answer.signature?.status).toBe(SignatureStatus.SIGNED)
  await waitForResend(resent.signatureId)
  const { challenge } = await one.client.resendChallenge({
    signatureId: resent.signatureId,
    idempotencyKey: randomUUID(),
  })
  const body = app.sandbox.messages.find(({ sid }) => sid === challenge?.providerChallengeId)?.body
  await other.client.completeSignature({
    signatureId: resent.signatureId,
    code: codeIn(body),
    transaction: transaction(),
  })
  await load.stop()

  expect(await keyIdsOf(before)).toEqual(['p1 k1 p1'])
  expect(await keyIdsOf(after)).toEqual(['p2 k2 p2'])
  expect(await keyIdsOf([resent.signatureId])).toEqual(['p1 k1 p1', 'p1 k2 p2'])
  const logs = replicas.flatMap((replica) => replica.logs)
  expect(logs.filter(({ level }) => level === 'error' || level === 'warn')).toEqual([])
  for (const ring of Object.values(rotated)) {
    for (const pair of ring.split(',')) expect(JSON.stringify(logs)).not.toContain(pair.replace(/^.*?:/, ''))
  }
})

test('a replica that has not read yet completes and resends what the other one sealed with new keys', async () => {
  await using place = await secretFiles({ ...secretsOf(app.env), ...first })
  const { ahead, behind } = await oneAhead(place)
  const { signatureId, challengeId, code } = await start(ahead)
  expect(await keyIdsOf([signatureId])).toEqual(['p2 k2 p2'])
  const { signature } = await behind.client.completeSignature({ signatureId, code, transaction: transaction() })
  expect(signature?.status).toBe(SignatureStatus.SIGNED)
  expect(await row(app, 'challenge', challengeId)).toMatchObject({ tries_used: 1 })
  expect(await timeline(app, signatureId)).not.toContain('CODE_REJECTED')
  expect(linesOf(behind, 'secrets changed')).toHaveLength(1)

  await using later = await secretFiles({ ...secretsOf(app.env), ...first })
  const two = await oneAhead(later)
  const waiting = await start(two.ahead)
  await waitForResend(waiting.signatureId)
  const resent = await two.behind.client.resendChallenge({
    signatureId: waiting.signatureId,
    idempotencyKey: randomUUID(),
  })
  expect(resent.challenge?.sendTime).toBeDefined()
  expect(linesOf(two.behind, 'secrets changed')).toHaveLength(1)
})

test('a table is tried on signatures whose phone numbers another replica sealed with a new key', async () => {
  await using place = await secretFiles({ ...secretsOf(app.env), ...first })
  const { ahead, behind } = await oneAhead(place)
  await start(ahead)
  const routes = [route(1, { SMS: ['twilio-sms'] })]
  expect(await behind.routing.simulateRoutingTable({ routes, signatures: 1 })).toMatchObject({ signatures: 1 })
})

test('many calls that meet an unknown key at once read the secrets once', async () => {
  await using place = await secretFiles({ ...secretsOf(app.env), ...first })
  const { ahead, behind } = await oneAhead(place)
  const started = await Promise.all(Array.from({ length: 20 }, () => start(ahead)))
  await Promise.all(
    started.map(({ signatureId, code }) =>
      behind.client.completeSignature({ signatureId, code, transaction: transaction() }),
    ),
  )
  expect(await readsThat(behind, 'changed')).toBe(1)
  // Some may have come when that read had just begun.
  expect(await readsThat(behind, 'unchanged')).toBeLessThanOrEqual(1)
})

test('a wrong code under a key that was not known yet takes one try', async () => {
  await using place = await secretFiles({ ...secretsOf(app.env), ...first })
  const { ahead, behind } = await oneAhead(place)
  const { signatureId, challengeId, code } = await start(ahead)
  const wrong = code === '000000' ? '000001' : '000000'
  const error = await failure(behind.client.completeSignature({ signatureId, code: wrong, transaction: transaction() }))
  expect(error).toMatchObject({ reason: 'CODE_REJECTED', metadata: { tries_remaining: '2' } })
  expect(await row(app, 'challenge', challengeId)).toMatchObject({ tries_used: 1 })
})

test('a key that is nowhere to be found takes no try, and the log says which one to list', async () => {
  await using place = await secretFiles({ ...secretsOf(app.env), ...first })
  const { ahead } = await oneAhead(place)
  const { signatureId, challengeId, code } = await start(ahead)
  // This one has its keys in its environment, which never changes.
  const error = await failure(app.client.completeSignature({ signatureId, code, transaction: transaction() }))
  expect(error).toMatchObject({ code: Code.Internal, reason: 'INTERNAL' })
  expect(await row(app, 'challenge', challengeId)).toMatchObject({ tries_used: 0, status: 'SENT' })
  expect(linesOf(app, 'rows name a key that is not listed: list it everywhere')).toEqual([
    expect.objectContaining({ level: 'error', secret: 'CODE_KEYS', key_id: 'k2' }),
  ])
  await waitForResend(signatureId)
  const resend = await failure(app.client.resendChallenge({ signatureId, idempotencyKey: randomUUID() }))
  expect(resend.code).toBe(Code.Internal)
  expect(linesOf(app, 'rows name a key that is not listed: list it everywhere').at(-1)).toMatchObject({
    secret: 'PII_KEYS',
    key_id: 'p2',
  })
  const { signature } = await ahead.client.completeSignature({ signatureId, code, transaction: transaction() })
  expect(signature?.status).toBe(SignatureStatus.SIGNED)
})

test('with keys in the environment, listing the new key second everywhere and then first fails no call', async () => {
  const second = (ring: string) => ring.split(',').toReversed().join(',')
  const listed = { CODE_KEYS: second(rotated.CODE_KEYS), PII_KEYS: second(rotated.PII_KEYS) }
  const generations = [first, listed, rotated]
  for (const [older, newer] of [generations.slice(0, 2), generations.slice(1)]) {
    const replicas = [await app.replica(older), await app.replica(newer)]
    const load = signSteadily(replicas, 2)
    await load.more(10)
    await load.stop()
  }
})

test("the operators' guide has a query for the keys that rows still name", async () => {
  const [, query = ''] =
    /```sql\n(.*?)```/s.exec(await readFile(join(import.meta.dirname, '../../docs/operating.md'), 'utf8')) ?? []
  await using other = await startApp({ CODE_KEYS: `a:${randomKey()}`, PII_KEYS: `b:${randomKey()}` })
  const { signatureId, code } = await start(other, { pushToken: 'push-token' })
  const used = async () => (await sql.raw(query).execute(other.db)).rows
  // Phone number, push token and the vendor's answer.
  const pii = { purpose: 'PII_KEYS', key_id: 'b', rows: '3' }
  expect(await used()).toEqual([{ purpose: 'CODE_KEYS', key_id: 'a', rows: '1' }, pii])
  await other.client.completeSignature({ signatureId, code, transaction: transaction() })
  expect(await used()).toEqual([pii])
})

test('a repeated start is answered as before after a rotation', async () => {
  await using place = await secretFiles({ ...secretsOf(app.env), ...first })
  const replica = await app.replica({ ...place.env, ...QUICKLY })
  const request = startRequest()
  const { signature } = await replica.client.startSignature(request)
  await place.put(rotated)
  await haveLogged([replica], 'secrets changed', { code_key_id: 'k2' })
  expect((await replica.client.startSignature(request)).signature?.id).toBe(signature?.id)
})
