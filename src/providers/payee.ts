import { toGsm7 } from './gsm7.ts'

const SHOWN_OF_ACCOUNT = 4
const SHOWN_OF_NUMBER = 4

/** A scheme with its slashes, however often it is written. */
const SCHEME = /(?<![a-z0-9+.-])[a-z0-9+.-]*:\/+/gi
/** The colon of a scheme that needs no slashes, such as mailto: or tel:. */
const COLON = /(?<=\p{L}):(?=\S)/gu
/** Marks and invisible characters, which may stand anywhere in what is written as a link. */
const UNSEEN = String.raw`[\p{M}\p{Default_Ignorable_Code_Point}]*`
/** A dot, of those that IDNA takes for one, before what may be a top-level domain: two letters at least, or xn--. */
const DOT = String.raw`[.\u3002]${UNSEEN}\p{L}${UNSEEN}\p{L}`
const PATH = new RegExp(String.raw`(${DOT}[^\s/]*)/\S*`, 'gu')
const HOST_DOT = new RegExp(String.raw`(?<=[^\s.\u3002])(?=${DOT})(.)`, 'gu')
/** The first dot of an IP address, which phones link too. */
const IP_DOT = /(?<=\d)\.(?=\d+\.\d+\.\d)/g
const AT = /(?<=\S)@(?=\S)/g
/** Six digits at least, in any script, with anything but letters between them. */
const NUMBER = /[+(]*\p{N}(?:[^\p{L}\p{N}]*\p{N}){5,}/gu
/** What could be read as the end of the quotation marks around a payee. */
const QUOTES = /["\u02ba\u02ee\u201c-\u201f\u2033\u2036\u3003\u301d-\u301f]|['`\u00b4\u2018-\u201b\u2032\u2035]{2,}/gu

/**
 * A payee's name such that nothing in it works: no link, no address to write to, no number to call or to take for a code,
 * and no quotation mark. A link loses its scheme and path, and a space stands behind its dot ("AMAZON. ES"); of six or more
 * digits the last four are left ("...4567 Ontario Ltd"). Takes what will be shown: transliterated or in NFKC, as either may
 * make a dot or a digit of what was none. Never empty.
 */
export function disarm(name: string): string {
  const shown = name
    .replaceAll(SCHEME, ' ')
    .replaceAll(COLON, ': ')
    .replaceAll(PATH, '$1')
    .replaceAll(HOST_DOT, '$1 ')
    .replaceAll(IP_DOT, '. ')
    .replaceAll(AT, ' @ ')
    .replaceAll(NUMBER, (number) => `...${(number.match(/\p{N}/gu) ?? []).slice(-SHOWN_OF_NUMBER).join('')}`)
    .replaceAll(QUOTES, "'")
    .replaceAll(/\s+/g, ' ')
    .trim()
  return shown || '?'
}

/** Returns the last four letters and digits of an account, in Latin letters. They distinguish two accounts under one name. */
export function lastFour(account: string): string {
  const letters = toGsm7(account).match(/[\p{L}\p{N}]/gu) ?? []
  return letters.slice(-SHOWN_OF_ACCOUNT).join('')
}
