import { Code } from '@connectrpc/connect'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { type App, failure, row, startApp, startRequest } from '../support/app.ts'
import { EVERY_MATCH, forceTable, publish, route } from '../support/routing.ts'

const OPS = { author: 'ops@bank.example', reason: 'the new one sends too little' }

let app: App
beforeEach(async () => {
  app = await startApp()
})
afterEach(() => app[Symbol.asyncDispose]())

test('the rows of an earlier version rule again, as a new version with its own author and reason', async () => {
  const good = await publish(app, EVERY_MATCH)
  const bad = await publish(app, [route(1, { VOICE: ['twilio-voice'] })])

  const { routingTable } = await app.routing.rollBackRoutingTable({ version: good, replacesVersion: bad, ...OPS })

  expect(routingTable).toMatchObject({ version: bad + 1, ...OPS, routes: EVERY_MATCH })
  expect((await app.routing.getRoutingTable({})).routingTable).toEqual(routingTable)
  const { challenge } = await app.client.startSignature(startRequest())
  expect(challenge).toMatchObject({ provider: 'twilio-sms', routingTableVersion: bad + 1, routePriority: 50 })
  expect(await row(app, 'challenge', challenge?.id ?? '')).toMatchObject({ routing_table_version: bad + 1 })
  expect(app.sandbox.messages).toMatchObject([{ provider: 'twilio-sms' }])
  expect(await versions(app)).toMatchObject([
    { version: 1, author: 'migration' },
    { version: good, reason: 'for a test' },
    { version: bad, reason: 'for a test' },
    { version: bad + 1, ...OPS },
  ])
})

test('the version in force may be put in force again', async () => {
  const { routingTable } = await app.routing.rollBackRoutingTable({ version: 1, replacesVersion: 1, ...OPS })
  expect(routingTable).toMatchObject({ version: 2, ...OPS, routes: [{ priority: 1000 }] })
})

test('a version that there never was is not found', async () => {
  const call = app.routing.rollBackRoutingTable({ version: 2, replacesVersion: 1, ...OPS })
  expect(await failure(call)).toMatchObject({ code: Code.NotFound, reason: 'ROUTING_TABLE_NOT_FOUND' })
  expect(await versions(app)).toHaveLength(1)
})

test('a roll back that replaces another than the version in force is a conflict, and nothing is stored', async () => {
  const current = await publish(app, [route(1, { VOICE: ['twilio-voice'] })])
  const call = app.routing.rollBackRoutingTable({ version: 1, replacesVersion: 1, ...OPS })
  expect(await failure(call)).toMatchObject({
    code: Code.Aborted,
    reason: 'ROUTING_TABLE_CONFLICT',
    metadata: { current_version: String(current) },
  })
  expect(await versions(app)).toHaveLength(current)
})

test('of a roll back and a publisher at once, over two replicas, one wins', async () => {
  const other = await app.replica()
  for (let current = await publish(app, EVERY_MATCH); current < 8; current++) {
    const answers = await Promise.allSettled([
      app.routing.rollBackRoutingTable({ version: 1, replacesVersion: current, ...OPS }),
      other.routing.publishRoutingTable({ replacesVersion: current, ...OPS, routes: EVERY_MATCH }),
    ])
    expect(answers.map(({ status }) => status).toSorted()).toEqual(['fulfilled', 'rejected'])
    expect(await versions(app)).toHaveLength(current + 1)
  }
})

test('a version whose provider is gone is refused, by row and field', async () => {
  await forceTable(app, 2, 'twilio-sms', 'acme-sms')
  const current = await publish(app, EVERY_MATCH)

  const call = app.routing.rollBackRoutingTable({ version: 2, replacesVersion: current, ...OPS })

  expect(await failure(call)).toMatchObject({
    code: Code.InvalidArgument,
    reason: 'INVALID_FIELD',
    fields: ['routes[0].channels[0].providers[1].provider'],
  })
  expect(await versions(app)).toHaveLength(current)
})

test('every wrong field is named at once', async () => {
  const wrong = { version: 0, replacesVersion: -1, author: '', reason: 'x'.repeat(501) }
  const refused = await failure(app.routing.rollBackRoutingTable(wrong))
  expect(refused).toMatchObject({
    code: Code.InvalidArgument,
    reason: 'INVALID_FIELD',
    fields: ['version', 'replaces_version', 'author', 'reason'],
  })
  expect(await versions(app)).toHaveLength(1)
})

async function versions({ db }: Pick<App, 'db'>) {
  return db.selectFrom('routing_table').selectAll().orderBy('version').execute()
}
