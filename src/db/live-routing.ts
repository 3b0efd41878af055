import { type CompiledRoutes, compileRoutes } from '../domain/routing.ts'
import { startLoop } from '../loop.ts'
import type { Db } from './database.ts'
import { type ProviderSwitch, readProviderSwitches } from './provider-switches.ts'
import { findRoutingTable, type RoutingTable } from './routing-tables.ts'

/** The routing table and the providers' switches that this process obeys. They stay in force while the database is away. */
export interface LiveRouting extends AsyncDisposable {
  readonly version: number
  readonly routes: CompiledRoutes
  /** The latest switch of every provider that has one. */
  readonly switches: ReadonlyMap<string, ProviderSwitch>
  /** Makes the next read begin now. Call it when something was published. */
  notice(): void
  /** Reads again. Resolves when everything published before the call is obeyed. */
  refresh(): Promise<void>
}

export interface LiveRoutingEvents {
  /** Called with each version of the table, once it is in force. */
  onTable(table: RoutingTable): void
  /** Called once when reading fails, and again only after a read that succeeded. */
  onError(error: unknown): void
}

/** For notices that don't come through, as with a pooler between us and the database. */
const POLL_MS = 500

/** Reads the table and the switches now, at each notice, and regularly without one. Throws if the first read fails. */
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
  let failing = false
  const following = startLoop(
    async () => {
      try {
        await refresh()
        failing = false
      } catch (error) {
        if (!failing) onError(error)
        failing = true
      }
    },
    () => POLL_MS,
  )

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
    notice: following.wake,
    [Symbol.asyncDispose]: () => following[Symbol.asyncDispose](),
  }
}
