import { isDeepStrictEqual } from 'node:util'
import { parseDatabaseUrl } from '../domain/database-url.ts'
import type { KeyProblems, Keys } from '../domain/keys.ts'
import type { SecretName } from './secret-source.ts'
import type { Secrets } from './secrets.ts'

/** What a running process makes of secrets that it has read again. */
export interface TakenOver {
  /** What it goes on with. */
  secrets: Secrets
  changed: SecretName[]
  /** What it leaves as it was, lines of `NAME: why`, which never hold a value. */
  refused: string[]
}

const VALUES: Record<SecretName, (secrets: Secrets) => unknown> = {
  DATABASE_URL: ({ databaseUrl }) => databaseUrl,
  DATABASE_LISTEN_URL: ({ databaseListenUrl }) => databaseListenUrl,
  TWILIO_ACCOUNT_SID: ({ twilio }) => twilio?.accountSid,
  TWILIO_AUTH_TOKEN: ({ twilio }) => twilio?.authToken,
  TWILIO_AUTH_TOKEN_PREVIOUS: ({ twilio }) => twilio?.previousAuthToken,
  TWILIO_API_KEY_SID: ({ twilio }) => twilio?.apiKey?.sid,
  TWILIO_API_KEY_SECRET: ({ twilio }) => twilio?.apiKey?.secret,
  TWILIO_FROM_NUMBER: ({ twilio }) => twilio?.fromNumber,
  TWILIO_VOICE_FROM: ({ twilio }) => (twilio?.voiceFrom === twilio?.fromNumber ? undefined : twilio?.voiceFrom),
  VONAGE_API_KEY: ({ vonage }) => vonage?.apiKey,
  VONAGE_API_SECRET: ({ vonage }) => vonage?.apiSecret,
  VONAGE_FROM: ({ vonage }) => vonage?.from,
  VONAGE_SIGNATURE_SECRET: ({ vonage }) => vonage?.signatureSecret,
  FCM_SERVICE_ACCOUNT: ({ fcm }) => fcm?.credentials,
  CODE_KEYS: ({ keys }) => keys && [...keys.code.byId],
  PII_KEYS: ({ keys }) => keys && [...keys.pii.byId],
  INDEX_KEY: ({ keys }) => keys?.index,
}
const NAMES = Object.keys(VALUES) as SecretName[]

/**
 * Takes over what may change under a running process: the code and PII keys without a problem, the credentials of the
 * vendors that it has, and the database's password. The rest stays as it was.
 */
export function takeOver(old: Secrets, read: Secrets, keyProblems: KeyProblems = {}): TakenOver {
  const refused: string[] = []
  /** The new value, unless the rule is broken. */
  const unless = <T>(problem: string | undefined, before: T, after: T): T => {
    if (!problem) return after
    refused.push(problem)
    return before
  }
  // Breakers, metrics and routing tables know the vendors of the start.
  const vendor = <T>(name: string, before: T | undefined, after: T | undefined) =>
    unless(
      (before === undefined) === (after === undefined)
        ? undefined
        : `${name}: credentials that come or go need a restart`,
      before,
      after,
    )
  const twilio = vendor('TWILIO_*', old.twilio, read.twilio)
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
    twilio: unless(
      Boolean(old.twilio?.voiceFrom) === Boolean(twilio?.voiceFrom)
        ? undefined
        : 'TWILIO_VOICE_FROM: a number for calls that comes or goes needs a restart',
      old.twilio,
      twilio,
    ),
    vonage: vendor('VONAGE_*', old.vonage, read.vonage),
    fcm: vendor('FCM_SERVICE_ACCOUNT', old.fcm, read.fcm),
    keys: takeOverKeys(old.keys, read.keys, keyProblems, unless),
  }
  const changed = NAMES.filter((name) => !isDeepStrictEqual(VALUES[name](old), VALUES[name](secrets)))
  return { secrets, changed, refused }
}

function takeOverKeys(
  old: Keys | undefined,
  read: Keys | undefined,
  problems: KeyProblems,
  unless: <T>(problem: string | undefined, before: T, after: T) => T,
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
  name: SecretName,
  old: ReadonlyMap<string, Buffer>,
  read: ReadonlyMap<string, Buffer>,
): string | undefined {
  const id = [...old].find(([id, key]) => read.get(id)?.equals(key) === false)?.[0]
  return id && `${name}: a new key needs a new id; ${id} has another key than before`
}

function databaseProblem(name: SecretName, old: string | undefined, read: string | undefined): string | undefined {
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
