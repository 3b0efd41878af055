import { parseDatabaseUrl } from '../domain/database-url.ts'
import { isLoopback, type Rule, type SettingReader } from '../settings.ts'

/** The modes in which pg's driver checks the server's certificate, now and when it takes over libpq's meanings. */
const VERIFIED = ['verify-ca', 'verify-full']

const POSTGRES_URL: Rule<string> = {
  mustBe:
    'a URL that starts with postgres:// or postgresql://, with a port for each host or one for all; target_session_attrs may be any, read-write or primary',
  parse: (text) => (parseDatabaseUrl(text) ? text : undefined),
}
const NO_TLS =
  'must have sslmode=verify-full or verify-ca with NODE_ENV=production, unless the database is on loopback or a Unix socket; DATABASE_TLS=off takes it as it is'

/** Reads a database's URL. With `needsTls`, adds a problem if it {@link isOpenToOthers}. */
export function readDatabaseUrl(
  name: string,
  secret: SettingReader,
  needsTls: boolean,
  problems: string[],
): string | undefined {
  const url = secret(name, POSTGRES_URL, undefined)
  if (url && needsTls && isOpenToOthers(url)) problems.push(`${name}: ${NO_TLS}`)
  return url
}

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
