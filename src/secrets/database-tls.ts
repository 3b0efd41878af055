import { type Env, isLoopback } from './settings.ts'

/** The modes in which pg's driver checks the server's certificate, now and when it takes over libpq's meanings. */
const VERIFIED = ['verify-ca', 'verify-full']

/** True if whoever is between this machine and one of the database's hosts could read along or answer in its place. */
export function isOpenToOthers(databaseUrl: string, env: Env): boolean {
  return !VERIFIED.includes(queryOf(databaseUrl).getAll('sslmode').at(-1) ?? '') && !isLocalDatabase(databaseUrl, env)
}

/** True if every host of the URL is this machine: on loopback or a Unix socket. */
export function isLocalDatabase(databaseUrl: string, env: Env): boolean {
  return hostsOf(databaseUrl).every((host) => {
    const name = host || env.PGHOST || 'localhost'
    return isLoopback(name) || name.startsWith('/')
  })
}

/** As the driver reads them: from the last `host` of the query, or else from their usual place. Several have commas between them. */
function hostsOf(databaseUrl: string): string[] {
  const named = queryOf(databaseUrl).getAll('host').at(-1)
  if (named) return named.split(',')
  const [, authority = ''] = /^\w+:\/\/([^/?#]*)/.exec(databaseUrl) ?? []
  const hosts = authority.slice(authority.lastIndexOf('@') + 1).split(',')
  return hosts.map((host) => host.replace(/:\d*$/, '').replace(/^%2f/i, '/'))
}

function queryOf(databaseUrl: string): URLSearchParams {
  const [beforeFragment = ''] = databaseUrl.split('#', 1)
  return new URLSearchParams(beforeFragment.slice(beforeFragment.indexOf('?') + 1))
}
