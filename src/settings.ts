/** The environment's variables, or a map like it. An empty string means unset. */
export type Env = Readonly<Record<string, string | undefined>>

/** What a setting must be. */
export interface Rule<T> {
  /** Ends the sentence "NAME: must be …". */
  readonly mustBe: string
  /** The setting's value, or undefined when the text breaks the rule. */
  readonly parse: (text: string) => T | undefined
}

/**
 * Makes a function that reads one setting: its value, or the fallback when it is unset or wrong.
 * Each wrong one adds a line to `problems`, which never holds the text that was found.
 */
export function settingReader(env: Env, problems: string[]) {
  return <T, F>(name: string, rule: Rule<T>, fallback: F): T | F => {
    const text = env[name]
    if (!text) return fallback
    const value = rule.parse(text)
    if (value === undefined) problems.push(`${name}: must be ${rule.mustBe}`)
    return value ?? fallback
  }
}

export type SettingReader = ReturnType<typeof settingReader>

export function oneOf<T extends string>(...choices: T[]): Rule<T> {
  return { mustBe: `one of ${choices.join(', ')}`, parse: (text) => choices.find((choice) => choice === text) }
}

export function matching(pattern: RegExp, mustBe: string): Rule<string> {
  return { mustBe, parse: (text) => (pattern.test(text) ? text : undefined) }
}

// A header can't hold anything else, and the error that fetch then throws quotes the token.
export const TOKEN = matching(/^[!-~]+$/, 'a token without white space')

export function wholeNumber(min: number, max: number): Rule<number> {
  return {
    mustBe: `a whole number from ${min} to ${max}`,
    parse: (text) => (/^\d+$/.test(text) && Number(text) >= min && Number(text) <= max ? Number(text) : undefined),
  }
}

/** Seconds, decimals allowed; the value is in milliseconds. */
export function seconds(maxSeconds: number): Rule<number> {
  return {
    mustBe: `a number of seconds from 0.001 to ${maxSeconds}`,
    parse(text) {
      const ms = /^\d+(\.\d+)?$/.test(text) ? Math.round(Number(text) * 1000) : 0
      return ms >= 1 && ms <= maxSeconds * 1000 ? ms : undefined
    },
  }
}

const LOOPBACK = /^(localhost|127\.\d+\.\d+\.\d+|::1|\[::1\])$/

/** True if this host is this machine. An IPv6 address may be in brackets. */
export function isLoopback(host: string): boolean {
  return LOOPBACK.test(host)
}

/** A URL to call; the value has no slash at its end. `plain` names the hosts for which http is allowed beside https. */
export function httpUrl(plain: 'anywhere' | 'loopback' | 'nowhere'): Rule<string> {
  const scheme = { anywhere: 'http or https', loopback: 'https (http on loopback only)', nowhere: 'https' }[plain]
  return {
    mustBe: `an ${scheme} URL without credentials, query or fragment`,
    parse(text) {
      const url = URL.parse(text)
      if (!url || url.username || url.password || /[?#]/.test(text)) return undefined
      const plainAllowed = plain === 'anywhere' || (plain === 'loopback' && isLoopback(url.hostname))
      if (url.protocol !== 'https:' && !(url.protocol === 'http:' && plainAllowed)) return undefined
      return (url.origin + url.pathname).replace(/\/+$/, '')
    },
  }
}

/** Returns what the text holds as JSON, or undefined if it isn't JSON. */
export function parseJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined // the parser's own error quotes the text
  }
}
