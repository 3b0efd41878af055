import { isDeepStrictEqual } from 'node:util'
import { parseDatabaseUrl } from '../domain/database-url.ts'
import type { KeyProblems, Keys } from '../domain/keys.ts'
import type { ConfiguredVendor } from '../providers/vendor.ts'
import type { Secrets } from './secrets.ts'

/** The outcome of reading the secrets again in a running process. */
export interface TakenOver {
  /** What the process uses from now on. */
  secrets: Secrets
  changed: string[]
  /** What stays as it was: lines of `NAME: why`, which never hold a value. */
  refused: string[]
}

/** Returns `after`, or `before` when there is a problem with `after`, which is then added to the refused. */
type Unless = <T>(problem: string | undefined, before: T, after: T) => T

/** What each secret holds, by name. */
function valuesOf({ databaseUrl, databaseListenUrl, vendors, keys }: Secrets): Record<string, unknown> {
  return {
    DATABASE_URL: databaseUrl,
    DATABASE_LISTEN_URL: databaseListenUrl,
    ...Object.assign({}, ...Object.values(vendors).map(({ values }) => values)),
    CODE_KEYS: keys && [...keys.code.byId],
    PII_KEYS: keys && [...keys.pii.byId],
    INDEX_KEY: keys?.index,
  }
}

/**
 * Takes over what may change under a running process: the code and PII keys without a problem, the credentials of the
 * vendors that it has, and the database's password. The rest stays as it was.
 */
export function takeOver(old: Secrets, read: Secrets, keyProblems: KeyProblems = {}): TakenOver {
  const refused: string[] = []
  const unless: Unless = (problem, before, after) => {
    if (!problem) return after
    refused.push(problem)
    return before
  }
  const secrets: Secrets = {
    databaseUrl: unless(
      databaseProblem('DATABASE_URL', old.databaseUrl, read.databaseUrl),
      old.databaseUrl,
      read.databaseUrl,
    ),
    databaseListenUrl: unless(
      databaseProblem('DATABASE_LISTEN_URL', old.databaseListenUrl, read.databaseListenUrl),
      old.databaseListenUrl,
      read.databaseListenUrl,
    ),
    vendors: takeOverVendors(old.vendors, read.vendors, unless),
    keys: takeOverKeys(old.keys, read.keys, keyProblems, unless),
  }
  const [before, after] = [valuesOf(old), valuesOf(secrets)]
  const changed = Object.keys(after).filter((name) => !isDeepStrictEqual(before[name], after[name]))
  return { secrets, changed, refused }
}

/** Breakers, metrics and routing tables know the providers of the start, so no vendor comes or goes. */
function takeOverVendors(old: Secrets['vendors'], read: Secrets['vendors'], unless: Unless): Secrets['vendors'] {
  const taken: Record<string, ConfiguredVendor> = {}
  for (const name of new Set([...Object.keys(old), ...Object.keys(read)])) {
    const [before, after] = [old[name], read[name]]
    const kept = unless(vendorProblem(before, after), before, after)
    if (kept) taken[name] = kept
  }
  return taken
}

function vendorProblem(before: ConfiguredVendor | undefined, after: ConfiguredVendor | undefined): string | undefined {
  if (before && after) return after.vendor.restartProblem?.(before.config, after.config)
  const { credentials } = (before ?? after)?.vendor ?? {}
  return `${credentials}: credentials that come or go need a restart`
}

function takeOverKeys(
  old: Keys | undefined,
  read: Keys | undefined,
  problems: KeyProblems,
  unless: Unless,
): Keys | undefined {
  if (!old || !read) {
    return unless(
      old === read ? undefined : 'CODE_KEYS, PII_KEYS, INDEX_KEY: keys that come or go need a restart',
      old,
      read,
    )
  }
  return {
    code: unless(ringProblem('CODE_KEYS', old.code.byId, read.code.byId) ?? problems.CODE_KEYS, old.code, read.code),
    pii: unless(ringProblem('PII_KEYS', old.pii.byId, read.pii.byId) ?? problems.PII_KEYS, old.pii, read.pii),
    // Under another one no customer is found, and a call that is made again looks like another request.
    index: unless(
      old.index.equals(read.index)
        ? undefined
        : 'INDEX_KEY: another one finds nothing of what was stored; the old one stays',
      old.index,
      read.index,
    ),
  }
}

/** Another key under an old id would make every code wrong that was sealed with the old one. */
function ringProblem(
  name: string,
  old: ReadonlyMap<string, Buffer>,
  read: ReadonlyMap<string, Buffer>,
): string | undefined {
  const id = [...old].find(([id, key]) => read.get(id)?.equals(key) === false)?.[0]
  return id && `${name}: a new key needs a new id; ${id} has another key than before`
}

function databaseProblem(name: string, old: string | undefined, read: string | undefined): string | undefined {
  const isSame = old === read || (old && read && isDeepStrictEqual(withoutPassword(old), withoutPassword(read)))
  return isSame ? undefined : `${name}: anything but another password needs a restart`
}

function withoutPassword(url: string): unknown {
  const { servers = [], target } = parseDatabaseUrl(url) ?? {}
  const addresses = servers.map((server) => {
    const address = new URL(server.url)
    address.password = ''
    address.searchParams.delete('password')
    return address.href
  })
  return { addresses, target }
}
