import type { KeyRing, Keys } from '../domain/keys.ts'
import type { Rule, SettingReader } from '../settings.ts'

export const KEY: Rule<Buffer> = { mustBe: 'a key of 32 bytes in base64', parse: parseKey }

export const KEY_RING: Rule<KeyRing> = {
  mustBe:
    'id:key pairs separated by commas, the current one first: each id once, of 1 to 32 letters, digits, _ or -; each key 32 bytes in base64',
  parse: parseKeyRing,
}

/** Reads CODE_KEYS, PII_KEYS and INDEX_KEY. Returns undefined unless all of them are there and right. */
export function readKeys(secret: SettingReader): Keys | undefined {
  const code = secret('CODE_KEYS', KEY_RING, undefined)
  const pii = secret('PII_KEYS', KEY_RING, undefined)
  const index = secret('INDEX_KEY', KEY, undefined)
  return code && pii && index ? { code, pii, index } : undefined
}

function parseKey(text: string): Buffer | undefined {
  const key = Buffer.from(text, 'base64')
  // Buffer skips what isn't base64, so only a round trip shows that nothing was skipped.
  return key.length === 32 && key.toString('base64') === text ? key : undefined
}

function parseKeyRing(text: string): KeyRing | undefined {
  const byId = new Map<string, Buffer>()
  for (const pair of text.split(',')) {
    const [, id, base64] = /^([\w-]{1,32}):(.*)$/.exec(pair) ?? []
    const key = parseKey(base64 ?? '')
    if (!id || !key || byId.has(id)) return undefined
    byId.set(id, key)
  }
  const [currentId] = byId.keys()
  return currentId ? { currentId, byId } : undefined
}
