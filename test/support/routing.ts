import { timestampFromDate } from '@bufbuild/protobuf/wkt'
import { sql } from 'kysely'
import {
  ProviderState,
  type RouteMatchSchema,
  type RouteSchema,
  Weekday,
} from '../../gen/bank/signature/v1/routing_pb.ts'
import { Channel } from '../../gen/bank/signature/v1/signature_pb.ts'
import type { Db } from '../../src/db/database.ts'
import { ANY } from './any-match.ts'
import type { App, Init } from './app.ts'

export type RouteInit = Init<typeof RouteSchema>

/** Providers by channel, in order. Each is a name, or a name with its weight; by default the first has all of it. */
export type Chain = Partial<Record<'SMS' | 'VOICE' | 'PUSH', (string | [provider: string, weight: number])[]>>

/** A row for these channels, in the order of the object's keys. */
export function route(
  priority: number,
  chain: Chain,
  match: RouteInit['match'] = {},
  options: Pick<RouteInit, 'fallbackOnUndelivered'> = {},
): RouteInit {
  const channels = Object.entries(chain).map(([channel, providers]) => ({
    channel: Channel[channel as keyof Chain],
    providers: providers.map((named, index) => {
      const [provider, weight] = typeof named === 'string' ? [named, index === 0 ? 1 : 0] : named
      return { provider, weight }
    }),
  }))
  return { priority, match, channels, ...options }
}

/** Puts a table in force, whatever was before. Resolves when the replica that was asked obeys it; gives its version. */
export async function publish({ routing }: Pick<App, 'routing'>, routes: RouteInit[]): Promise<number> {
  const { routingTable: current } = await routing.getRoutingTable({})
  const { routingTable } = await routing.publishRoutingTable({
    replacesVersion: current?.version ?? 0,
    author: 'ops@bank.example',
    reason: 'for a test',
    routes,
  })
  return routingTable?.version ?? 0
}

/** Pauses a provider. Resolves when the replica that was asked obeys it. */
export async function pause({ routing }: Pick<App, 'routing'>, provider: string, forMs = 60_000): Promise<void> {
  const pauseUntil = timestampFromDate(new Date(Date.now() + forMs))
  await routing.setProviderState({ provider, state: ProviderState.PAUSED, pauseUntil, author: 'ops', reason: 'test' })
}

/** Lets a provider be used again. */
export async function enable({ routing }: Pick<App, 'routing'>, provider: string): Promise<void> {
  await routing.setProviderState({ provider, state: ProviderState.ENABLED, author: 'ops', reason: 'test over' })
}

/** Writes a version past all checks, as nobody should: one row that names these providers for text messages. */
export async function forceTable({ db }: { db: Db }, version: number, ...providers: string[]): Promise<void> {
  const weighted = providers.map((provider, index) => ({ provider, weight: index === 0 ? 1 : 0 }))
  const routes = [{ priority: 7, match: ANY, channels: [{ channel: 'SMS', providers: weighted }] }]
  await sql`
    INSERT INTO routing_table (version, author, reason, routes)
    VALUES (${version}, 'nobody', 'for a test', ${JSON.stringify(routes)})
  `.execute(db)
}

/** The connections over which replicas are told of what is new, as process ids of the database. */
export async function listeners({ db }: { db: Db }): Promise<number[]> {
  const { rows } = await sql<{ pid: number }>`
    SELECT pid FROM pg_stat_activity
    WHERE datname = current_database() AND application_name = 'signature-router listener' AND query ~ '^(LISTEN|SELECT$)'
    ORDER BY pid
  `.execute(db)
  return rows.map(({ pid }) => pid)
}

/** Breaks those connections. */
export async function cutListeners(app: { db: Db }): Promise<void> {
  const pids = await listeners(app)
  await sql`SELECT pg_terminate_backend(pid) FROM unnest(${pids}::int[]) AS pid`.execute(app.db)
}

/** A table with every kind of match, each row in the form in which the contract gives it back. */
export const EVERY_MATCH: RouteInit[] = [
  route(
    10,
    {
      SMS: [
        ['twilio-sms', 70],
        ['vonage-sms', 30],
      ],
    },
    match({ country: 'ES', customerSegment: 'BUSINESS' }),
  ),
  route(20, { VOICE: ['twilio-voice'] }, match({ channel: Channel.VOICE, callingPrefix: '+346' })),
  route(
    30,
    { PUSH: ['fcm-push'], SMS: ['vonage-sms', 'twilio-sms'], VOICE: ['twilio-voice'] },
    match({
      transactionType: 'CARD',
      amount: { currencyCode: 'EUR', min: '0.01', max: '1000' },
      timeWindow: {
        start: '22:00',
        end: '06:00',
        timeZone: 'Europe/Madrid',
        weekdays: [Weekday.MONDAY, Weekday.SUNDAY],
      },
    }),
  ),
  route(40, { SMS: ['twilio-sms'] }, match({ amount: { currencyCode: 'USD', min: '', max: '' } })),
  route(50, { SMS: ['twilio-sms'] }, match({})),
]

function match(fields: Init<typeof RouteMatchSchema>) {
  const nothing = {
    channel: Channel.UNSPECIFIED,
    country: '',
    callingPrefix: '',
    transactionType: '',
    customerSegment: '',
  }
  return { ...nothing, ...fields }
}
