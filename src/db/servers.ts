import { parseDatabaseUrl, type TargetSession } from '../domain/database-url.ts'
import { isPasswordRefused, storageFailure } from './storage-errors.ts'

/** Connects to one of a database URL's servers. */
export interface Servers {
  /**
   * Calls `attempt` with one server after the other until it succeeds, and begins with the one that did last. Goes on only
   * when a server is away or not what the URL asks for. Throws the error of the last one tried.
   */
  connect<T>(attempt: (url: string, target: TargetSession) => Promise<T>): Promise<T>
}

/** `url` is read at each connect, as its password may have changed. */
export function createServers(url: () => string): Servers {
  let preferred = 0
  return {
    async connect(attempt) {
      const { servers = [], target = 'any' } = parseDatabaseUrl(url()) ?? {}
      let failure: unknown = new Error('the database has no URL')
      for (const _ of servers) {
        const index = preferred
        try {
          return await attempt(servers[index % servers.length]?.url ?? '', target)
        } catch (error) {
          failure = error
          if (storageFailure(error) !== 'STORAGE_UNAVAILABLE' || isPasswordRefused(error)) break
          // Another caller may have gone on meanwhile.
          if (preferred === index) preferred += 1
        }
      }
      throw failure
    },
  }
}
