import { matching, type Rule, type SettingReader } from '../../settings.ts'

/** The edge of each region: a host that names the region alone is no longer served. */
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
 * Returns where Twilio's API is, without a slash or the API's version at its end: TWILIO_API_URL, or the host that TWILIO_EDGE
 * and TWILIO_REGION name, either of which may be unset. Adds what is wrong to `problems`.
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
