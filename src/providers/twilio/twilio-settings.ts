import type { TwilioConfig } from '../../secrets/secrets.ts'
import { matching, type Rule, type SettingReader, TOKEN } from '../../settings.ts'

/** https://www.twilio.com/docs/glossary/what-is-a-sid */
const sid = (prefix: string) =>
  matching(new RegExp(`^${prefix}[0-9a-fA-F]{32}$`), `${prefix} and 32 hexadecimal digits`)
const PHONE = matching(/^\+[1-9]\d{1,14}$/, 'an E.164 number')
/**
 * What messages are sent from. The characters of a sender id are those of an AlphaSender:
 * https://www.twilio.com/docs/messaging/api/alphasender-resource
 */
const SENDER = matching(
  /^(\+[1-9]\d{1,14}|\d{3,8}|MG[0-9a-fA-F]{32}|(?=.*[A-Za-z])[A-Za-z0-9 +&_-]{1,11})$/,
  "an E.164 number, a short code, a Messaging Service's SID (MG…), or a sender id of up to 11 letters, digits, spaces, +, -, _ and & with at least one letter",
)

/** Without the secrets that are missing; undefined when those are among them that Twilio's adapters can't do without. */
export function readTwilio(secret: SettingReader, apiUrl: string): TwilioConfig | undefined {
  const accountSid = secret('TWILIO_ACCOUNT_SID', sid('AC'), undefined)
  const authToken = secret('TWILIO_AUTH_TOKEN', TOKEN, undefined)
  const previousAuthToken = secret('TWILIO_AUTH_TOKEN_PREVIOUS', TOKEN, undefined)
  const keySid = secret('TWILIO_API_KEY_SID', sid('SK'), undefined)
  const keySecret = secret('TWILIO_API_KEY_SECRET', TOKEN, undefined)
  const fromNumber = secret('TWILIO_FROM_NUMBER', SENDER, undefined)
  const voiceFrom = secret('TWILIO_VOICE_FROM', PHONE, undefined)
  const apiKey = keySid && keySecret ? { sid: keySid, secret: keySecret } : undefined
  if (!accountSid || !fromNumber || !(apiKey || authToken)) return undefined
  const numberOfTexts = PHONE.parse(fromNumber)
  return { accountSid, authToken, previousAuthToken, apiKey, fromNumber, voiceFrom: voiceFrom ?? numberOfTexts, apiUrl }
}

/** Each region's edge: a host that names the region alone is no longer served. */
const EDGES: Readonly<Record<string, string>> = {
  au1: 'sydney',
  br1: 'sao-paulo',
  de1: 'frankfurt',
  ie1: 'dublin',
  jp1: 'tokyo',
  jp2: 'osaka',
  sg1: 'singapore',
  us1: 'ashburn',
  us2: 'umatilla',
}

/**
 * Where Twilio's API is, without a slash or the API's version at its end: TWILIO_API_URL, or the host of TWILIO_EDGE and
 * TWILIO_REGION, of which either may be missing.
 * https://www.twilio.com/docs/global-infrastructure/using-the-twilio-rest-api-in-a-non-us-region
 */
export function readTwilioUrl(setting: SettingReader, url: Rule<string>, problems: string[]): string {
  const name = matching(/^[a-z0-9]+(-[a-z0-9]+)*$/, 'a name of lower-case letters, digits and -')
  const given = setting('TWILIO_API_URL', url, undefined)
  const edge = setting('TWILIO_EDGE', name, undefined)
  const region = setting('TWILIO_REGION', name, edge && 'us1')
  if (given && region) problems.push('TWILIO_API_URL: must not be set together with TWILIO_EDGE or TWILIO_REGION')
  if (given) return given.replace(/\/*\/2010-04-01$/, '')
  if (!region) return 'https://api.twilio.com'
  const entry = edge ?? (Object.hasOwn(EDGES, region) ? EDGES[region] : undefined)
  if (!entry) problems.push('TWILIO_EDGE: is required with this TWILIO_REGION')
  return `https://api.${entry}.${region}.twilio.com`
}
