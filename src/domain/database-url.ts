/** A PostgreSQL URL as libpq takes it, with one server or several. */
export interface DatabaseUrl {
  /** In the order in which they are tried. */
  readonly servers: readonly DatabaseServer[]
  readonly target: TargetSession
  /** The parameters behind the `?`, such as `sslmode`, but for those that this type knows by name. */
  readonly options: ReadonlyMap<string, string>
}

export interface DatabaseServer {
  /** A name, an address without brackets, or the directory of a socket. */
  readonly host: string
  readonly port: number
  /** The whole URL, with this server alone. A secret: it holds the password. */
  readonly url: string
}

/** Which server will do: any that answers, one that takes writes, or one that isn't a standby. */
export type TargetSession = (typeof TARGETS)[number]

const TARGETS = ['any', 'read-write', 'primary'] as const
const DEFAULT_PORT = '5432'

/**
 * Parses `postgres://user:password@host:port,host:port/database?target_session_attrs=read-write`, where hosts and ports may
 * also be parameters. Returns undefined for anything else.
 * https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-CONNSTRING-URIS
 */
export function parseDatabaseUrl(text: string): DatabaseUrl | undefined {
  const match = /^(postgres(?:ql)?:\/\/)([^/?#]*@)?([^/?#@]*)(\/[^?#]*)?(?:\?([^#]*))?$/.exec(text)
  if (!match || text.endsWith('://')) return undefined
  const [, scheme = '', user = '', authority = '', database = '', query = ''] = match
  const options = new Map(new URLSearchParams(query))
  const take = (name: string) => {
    const value = options.get(name)
    options.delete(name)
    return value
  }
  const addresses = authority.split(',').map((each) => /^(\[[^\]]+\]|[^:[\]]*)(?::(\d*))?$/.exec(each))
  if (addresses.includes(null)) return undefined
  const hosts = (take('host') ?? addresses.map((address) => decode(address?.[1])).join(',')).split(',')
  const ports = (take('port') ?? addresses.map((address) => address?.[2] ?? '').join(',')).split(',')
  const target = TARGETS.find((each) => each === (options.get('target_session_attrs') ?? 'any'))
  options.delete('target_session_attrs')
  if (!target || (ports.length > 1 && ports.length !== hosts.length)) return undefined

  const rest = new URLSearchParams([...options]).toString()
  const servers = hosts.map((given, index) => {
    const host = given.replace(/^\[(.*)\]$/, '$1') || 'localhost'
    const port = ports[ports.length > 1 ? index : 0] || DEFAULT_PORT
    const address = host.includes(':') ? `[${host}]` : encodeURIComponent(host)
    return { host, port: Number(port), url: `${scheme}${user}${address}:${port}${database}${rest && `?${rest}`}` }
  })
  return servers.every(({ url }) => URL.canParse(url)) ? { servers, target, options } : undefined
}

/** Percent escapes decoded; as it is where they are none. */
function decode(text = ''): string {
  try {
    return decodeURIComponent(text)
  } catch {
    return text
  }
}
