import { setTimeout as sleep } from 'node:timers/promises'
import { type CompiledRoutes, compileRoutes } from '../domain/routing.ts'
import type { Db } from './database.ts'
import { type ProviderSwitch, readProviderSwitches } from './provider-switches.ts'
import { findRoutingTable, type RoutingTable } from './routing-tables.ts'

/** The routing table and the providers' switches as this process obeys them. They stay when the database is away. */
export interface LiveRouting extends AsyncDisposable {
  readonly version: number
  readonly routes: CompiledRoutes
  /** What operators last said, by provider. */
  readonly switches: ReadonlyMap<string, ProviderSwitch>
  /** Something was published, as far as this process was told. */
  notice(): void
  /** Reads anew. Resolves when what was published before the call is obeyed. */
  refresh(): Promise<void>
}

export interface LiveRoutingEvents {
  /** A version of the table is in force from now on. */
  onTable(table: RoutingTable): void
  /** Nothing could be read; told once until it can be again. */
  onError(error: unknown): void
}

/** Behind the notices, should they not come through, as with a pooler between us and the database. */
const POLL_MS = 500

/** Reads the table and the switches, and goes on reading them: at each notice, and now and then without one. */
export async function openLiveRouting(db: Db, { onTable, onError }: LiveRoutingEvents): Promise<LiveRouting> {
  let version = 0
  let routes: CompiledRoutes = []
  let switches: ReadonlyMap<string, ProviderSwitch> = new Map()

  async function read(): Promise<void> {
    switches = new Map((await readProviderSwitches(db)).map((last) => [last.provider, last]))
    const newer = await findRoutingTable(db, { after: version })
    if (!newer) return
    routes = compileRoutes(newer.routes)
    version = newer.version
    onTable(newer)
  }

  // One after the other: an older answer must not come after a newer one.
  let last = Promise.resolve()
  const refresh = () => {
    last = last.then(read, read)
    return last
  }

  await refresh()
  const stop = new AbortController()
  let wake = () => {}

  async function follow(): Promise<void> {
    let failing = false
    while (!stop.signal.aborted) {
      const noticed = Promise.withResolvers<void>()
      wake = noticed.resolve
      await refresh().then(
        () => {
          failing = false
        },
        (error) => {
          if (!failing) onError(error)
          failing = true
        },
      )
      const pause = new AbortController()
      const stopped = AbortSignal.any([stop.signal, pause.signal])
      await Promise.race([noticed.promise, sleep(POLL_MS, undefined, { signal: stopped }).catch(() => {})])
      pause.abort()
    }
  }

  const following = follow()
  return {
    get version() {
      return version
    },
    get routes() {
      return routes
    },
    get switches() {
      return switches
    },
    refresh,
    notice: () => wake(),
    async [Symbol.asyncDispose]() {
      stop.abort()
      await following
    },
  }
}
