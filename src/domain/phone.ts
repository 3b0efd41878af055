import { getCountryCodeForRegionCode, getSupportedRegionCodes, parsePhoneNumber } from 'awesome-phonenumber'

const E164 = /^\+[1-9][0-9]{6,14}$/
/** ITU-T E.164, list of assigned country codes: one or two digits for these, three for all others. */
const COUNTRY_CODE = /^\+(?:1|7|2[07]|3[0-469]|4[013-9]|5[1-8]|6[0-6]|8[1246]|9[0-58]|[0-9]{3})/
/** Mexico called its mobile phones with a "1" until August 2019, and many still write it; libphonenumber forgot it. */
const OLD_MEXICAN_MOBILE = /^\+521[0-9]{10}$/
const SHOWN_DIGITS = 3

/** True if `phone` is in E.164: "+", then 7 to 15 digits of which the first isn't 0. */
export function isE164(phone: string): boolean {
  return E164.test(phone)
}

/**
 * What is wrong with an E.164 number that is spelled as within its country, such as +4407418084106 with its "0", so that
 * one phone has one spelling; undefined when nothing is, or when libphonenumber's numbering plans don't know better. Names
 * no more of the number than its country code and the digits to leave out.
 */
export function nationalSpelling(phone: string): string | undefined {
  const { number, countryCode } = parsePhoneNumber(phone)
  const international = OLD_MEXICAN_MOBILE.test(phone) ? phone.replace('1', '') : number?.e164
  if (international === undefined || international === phone) return undefined
  const [written = '', right = ''] = [phone, international].map((each) => each.slice(`+${countryCode}`.length))
  return written.endsWith(right)
    ? `must be without the "${written.slice(0, -right.length)}" after +${countryCode}, which is for calls within the country`
    : 'must be as it is called from abroad, not as within its country'
}

/** Masks `+34600111222` as `+34*****222`. A short number shows fewer digits: never more than a third of the national ones. */
export function maskPhone(phone: string): string {
  const countryCode = COUNTRY_CODE.exec(phone)?.[0] ?? '+'
  const national = phone.slice(countryCode.length)
  const shown = Math.min(SHOWN_DIGITS, Math.floor(national.length / 3))
  return `${countryCode}*****${national.slice(national.length - shown)}`
}

/** Returns the ISO 3166-1 alpha-2 country of a phone number by libphonenumber's numbering plans; undefined if it has none. */
export function countryOf(phone: string): string | undefined {
  const { regionCode } = parsePhoneNumber(phone)
  return regionCode && CALLING_CODES.has(regionCode) ? regionCode : undefined
}

/** Countries by ISO 3166-1 alpha-2, each with its calling code, for example "+34". Some share theirs with others. */
export const CALLING_CODES: ReadonlyMap<string, string> = new Map(
  getSupportedRegionCodes().map((country) => [country, `+${getCountryCodeForRegionCode(country)}`]),
)
