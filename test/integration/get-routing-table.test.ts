import { timestampDate } from '@bufbuild/protobuf/wkt'
import { Code } from '@connectrpc/connect'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { Channel } from '../../gen/bank/signature/v1/signature_pb.ts'
import { type App, failure, startApp } from '../support/app.ts'
import { EVERY_MATCH, publish, route } from '../support/routing.ts'

let app: App
beforeAll(async () => {
  app = await startApp()
})
afterAll(() => app[Symbol.asyncDispose]())

test('a fresh database has one version, which sends text messages over Twilio', async () => {
  await using own = await startApp()
  const { routingTable } = await own.routing.getRoutingTable({})
  expect(routingTable).toMatchObject({
    version: 1,
    author: 'migration',
    routes: [
      { priority: 1000, channels: [{ channel: Channel.SMS, providers: [{ provider: 'twilio-sms', weight: 1 }] }] },
    ],
  })
})

test('without a version it is the one in force, also on a replica that did not publish it', async () => {
  const other = await app.replica()
  const version = await publish(app, [route(2, { SMS: ['vonage-sms'] })])

  const { routingTable } = await other.routing.getRoutingTable({})

  expect(routingTable).toMatchObject({ version, author: 'ops@bank.example', reason: 'for a test' })
  expect(routingTable?.routes).toMatchObject([route(2, { SMS: ['vonage-sms'] })])
})

test('every kind of match is given back as it was published, and any earlier version too', async () => {
  const version = await publish(app, EVERY_MATCH)
  await publish(app, [route(3, { SMS: ['vonage-sms'] })])

  const { routingTable } = await app.routing.getRoutingTable({ version })

  expect(routingTable).toMatchObject({ version, routes: EVERY_MATCH })
  const { published_at } = await app.db
    .selectFrom('routing_table')
    .where('version', '=', version)
    .select('published_at')
    .executeTakeFirstOrThrow()
  expect(routingTable?.publishTime && timestampDate(routingTable.publishTime)).toEqual(published_at)
})

test.each([99, 2_147_483_647])('version %i is not found', async (version) => {
  const refused = await failure(app.routing.getRoutingTable({ version }))
  expect(refused).toMatchObject({ code: Code.NotFound, reason: 'ROUTING_TABLE_NOT_FOUND' })
})

test('a negative version is refused', async () => {
  const refused = await failure(app.routing.getRoutingTable({ version: -1 }))
  expect(refused).toMatchObject({ code: Code.InvalidArgument, reason: 'INVALID_FIELD', fields: ['version'] })
})
