import { parseDatabaseUrl } from '../domain/database-url.ts'
import { isLoopback } from '../settings.ts'

/** The modes in which pg's driver checks the server's certificate, now and when it takes over libpq's meanings. */
const VERIFIED = ['verify-ca', 'verify-full']

/** True if someone between this machine and one of the database's hosts could read the traffic or impersonate the database. */
export function isOpenToOthers(databaseUrl: string): boolean {
  const mode = parseDatabaseUrl(databaseUrl)?.options.get('sslmode') ?? ''
  return !VERIFIED.includes(mode) && !isLocalDatabase(databaseUrl)
}

/** True if every host of the URL is this machine: on loopback or a Unix socket. */
export function isLocalDatabase(databaseUrl: string): boolean {
  const servers = parseDatabaseUrl(databaseUrl)?.servers
  return servers?.every(({ host }) => isLoopback(host) || host.startsWith('/')) ?? false
}
