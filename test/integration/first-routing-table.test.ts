import { randomUUID } from 'node:crypto'
import { expect, inject, test } from 'vitest'
import { Channel } from '../../gen/bank/signature/v1/signature_pb.ts'
import { openDatabase } from '../../src/db/database.ts'
import { randomKey, start, startApp } from '../support/app.ts'
import { createDatabase } from '../support/database.ts'
import { forceTable } from '../support/routing.ts'

const NO_TWILIO = { TWILIO_ACCOUNT_SID: '', TWILIO_AUTH_TOKEN: '', TWILIO_FROM_NUMBER: '' }
const NO_VONAGE = { VONAGE_API_KEY: '', VONAGE_API_SECRET: '', VONAGE_FROM: '', VONAGE_SIGNATURE_SECRET: '' }

/** The versions there are, the newest first, and the newest one's channels with their providers. */
async function tableOf({ routing }: Awaited<ReturnType<typeof startApp>>) {
  const { routingTable } = await routing.getRoutingTable({})
  const channels = routingTable?.routes.flatMap((route) =>
    route.channels.map(({ channel, providers }) => [channel, ...providers.map(({ provider }) => provider)]),
  )
  return { version: routingTable?.version, author: routingTable?.author, reason: routingTable?.reason, channels }
}

test('a bank without Twilio starts, with a first table of the text messages that it has', async () => {
  await using app = await startApp(NO_TWILIO)
  expect(await tableOf(app)).toEqual({
    version: 2,
    author: 'signature-router',
    reason: 'first start: version 1 names twilio-sms, which has no credentials here',
    channels: [[Channel.SMS, 'vonage-sms']],
  })
  expect((await start(app)).code).toMatch(/^\d{6}$/)
})

test('a bank that has push alone starts with push', async () => {
  await using app = await startApp({ ...NO_TWILIO, ...NO_VONAGE })
  expect((await tableOf(app)).channels).toEqual([[Channel.PUSH, 'fcm-push']])
})

test('replicas that start at once publish one first table, and a start after it none', async () => {
  const env = {
    DATABASE_URL: await createDatabase(inject('postgresUrl'), randomUUID(), 'migrated'),
    CODE_KEYS: `k1:${randomKey()}`,
    PII_KEYS: `p1:${randomKey()}`,
    INDEX_KEY: randomKey(),
  }
  const apps = await Promise.all(Array.from({ length: 3 }, () => startApp({ ...env, ...NO_TWILIO })))
  apps.push(await startApp(env))
  try {
    for (const app of apps)
      expect(await tableOf(app)).toMatchObject({ version: 2, channels: [[Channel.SMS, 'vonage-sms']] })
  } finally {
    for (const app of apps) await app[Symbol.asyncDispose]()
  }
})

test('where Twilio is there the first table stays', async () => {
  await using app = await startApp()
  expect(await tableOf(app)).toMatchObject({ version: 1, channels: [[Channel.SMS, 'twilio-sms']] })
})

test.for([1, 2])(
  "a table of the operators' own, of version %i, that names an absent provider stops the start",
  async (version) => {
    const DATABASE_URL = await createDatabase(inject('postgresUrl'), randomUUID(), 'migrated')
    await using database = openDatabase(DATABASE_URL)
    await database.db.deleteFrom('routing_table').execute()
    await forceTable(database, version, 'vonage-sms', 'twilio-sms')
    await expect(startApp({ ...NO_TWILIO, DATABASE_URL })).rejects.toThrow('names "twilio-sms" for SMS; there is only')
  },
)
