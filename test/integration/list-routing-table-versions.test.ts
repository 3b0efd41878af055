import { Code } from '@connectrpc/connect'
import { sql } from 'kysely'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { type App, failure, startApp } from '../support/app.ts'
import { publish, route } from '../support/routing.ts'

const LAST = 120

let app: App
/** With versions 1 to 120. */
beforeAll(async () => {
  app = await startApp()
  await sql`
    INSERT INTO routing_table (version, author, reason, routes)
    SELECT n, 'author ' || n, 'reason ' || n, routes
    FROM routing_table, generate_series(2, ${LAST}::int) AS n WHERE version = 1
  `.execute(app.db)
})
afterAll(() => app[Symbol.asyncDispose]())

/** From one version down to another. */
function down(from: number, to: number): number[] {
  return Array.from({ length: from - to + 1 }, (_, index) => from - index)
}

test('versions are listed newest first, with who, why and when, and without their rows', async () => {
  const { versions } = await app.routing.listRoutingTableVersions({ pageSize: 3 })
  expect(versions).toMatchObject(
    [120, 119, 118].map((version) => ({
      version,
      author: `author ${version}`,
      reason: `reason ${version}`,
      publishTime: { seconds: expect.any(BigInt) },
      routes: [],
    })),
  )
})

test.each([
  ['by default', 0, 50],
  ['at most', 100, 100],
  ['at least', 1, 1],
])('%s a page of size %i has %i', async (_, pageSize, length) => {
  const { versions, nextPageToken } = await app.routing.listRoutingTableVersions({ pageSize })
  expect(versions.map(({ version }) => version)).toEqual(down(LAST, LAST - length + 1))
  expect(nextPageToken).not.toBe('')
})

test.each([7, 40, 60, 100])('pages of %i have every version once, and the last one no token', async (pageSize) => {
  const pages: number[][] = []
  for (let pageToken: string | undefined = ''; pageToken !== undefined; ) {
    const page = await app.routing.listRoutingTableVersions({ pageSize, pageToken })
    pages.push(page.versions.map(({ version }) => version))
    pageToken = page.nextPageToken || undefined
  }
  expect(pages.flat()).toEqual(down(LAST, 1))
  expect(pages).toHaveLength(Math.ceil(LAST / pageSize))
})

test('a version that is published meanwhile does not move the pages that follow', async () => {
  await using own = await startApp()
  for (const priority of [2, 3, 4]) await publish(own, [route(priority, { SMS: ['twilio-sms'] })])
  const first = await own.routing.listRoutingTableVersions({ pageSize: 2 })
  await publish(own, [route(5, { SMS: ['twilio-sms'] })])

  const second = await own.routing.listRoutingTableVersions({ pageSize: 2, pageToken: first.nextPageToken })

  expect([first, second].map(({ versions }) => versions.map(({ version }) => version))).toEqual([
    [4, 3],
    [2, 1],
  ])
  expect(second.nextPageToken).toBe('')
})

test.each(['x', '0', '-1', '1e3', ' 5', '05', '5.0', '9999999999', '5\0'])(
  'the page token %j is refused',
  async (pageToken) => {
    const refused = await failure(app.routing.listRoutingTableVersions({ pageToken }))
    expect(refused).toMatchObject({ code: Code.InvalidArgument, reason: 'INVALID_FIELD', fields: ['page_token'] })
  },
)

test.each([-1, 101, -2_147_483_648, 2_147_483_647])('a page size of %i is refused, with all else', async (pageSize) => {
  const refused = await failure(app.routing.listRoutingTableVersions({ pageSize, pageToken: 'next' }))
  expect(refused).toMatchObject({ code: Code.InvalidArgument, fields: ['page_size', 'page_token'] })
})
