import http from 'node:http'
import { ConfigError } from './config.ts'
import { type Env, type Rule, settingReader } from './settings.ts'

const PROXY: Rule<string> = {
  mustBe: 'an http or https URL, user and password percent-encoded',
  parse(text) {
    try {
      const { protocol, username, password } = new URL(text)
      decodeURIComponent(username + password)
      return /^https?:$/.test(protocol) && !/\s/.test(text) ? text : undefined
    } catch {
      return undefined
    }
  },
}

/** On this machine or, as a cloud's metadata server, beside it. */
const NEVER = 'localhost,127.0.0.1,::1,metadata.google.internal,169.254.169.254'

/**
 * Lets all calls of this process go out through the proxies that HTTPS_PROXY and HTTP_PROXY name, but for those to hosts in
 * NO_PROXY. Lower case goes before upper case, as in curl. Without a proxy it changes nothing. Returns a function that
 * takes it back.
 * @throws ConfigError naming what is wrong, without its value.
 */
export function useEgressProxy(env: Env): () => void {
  const problems: string[] = []
  const read = settingReader(env, problems)
  const proxyOf = (scheme: 'http' | 'https') =>
    read(`${scheme}_proxy`, PROXY, undefined) ?? read(`${scheme}_proxy`.toUpperCase(), PROXY, undefined)
  const [http_proxy, https_proxy] = [proxyOf('http'), proxyOf('https')]
  const exceptions = (env.no_proxy || env.NO_PROXY) ?? ''
  if (problems.length > 0) throw new ConfigError(problems)
  // An older Node lacks what follows, and serves those who need no proxy.
  if ((!http_proxy && !https_proxy) || exceptions.trim() === '*') return () => {}
  return http.setGlobalProxyFromEnv({ http_proxy, https_proxy, no_proxy: `${exceptions},${NEVER}` })
}
