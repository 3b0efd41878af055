import { randomBytes, randomUUID } from 'node:crypto'
import { link, mkdir, readFile, unlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Keys } from '../domain/keys.ts'
import { KEY, KEY_RING } from '../secrets/key-rules.ts'
import { parseJson } from '../settings.ts'

/**
 * Returns the keys kept in `keys.json` of the data directory, made on first use. They suit the embedded database only: a
 * replica with another data directory has other keys.
 * @throws Error naming the file when it can't be read, made or understood; a file that is there is never overwritten.
 */
export async function loadOrCreateLocalKeys(dataDir: string): Promise<Keys> {
  const file = join(dataDir, 'keys.json')
  await mkdir(dataDir, { recursive: true, mode: 0o700 })
  return (await readKeys(file)) ?? (await createKeys(file))
}

async function createKeys(file: string): Promise<Keys> {
  const key = () => randomBytes(32).toString('base64')
  const text = JSON.stringify({ CODE_KEYS: `local:${key()}`, PII_KEYS: `local:${key()}`, INDEX_KEY: key() }, null, 2)
  const temporary = `${file}.${randomUUID()}`
  try {
    await writeFile(temporary, `${text}\n`, { flag: 'wx', mode: 0o600, flush: true })
    // A link never replaces: of several processes starting at once one makes the file, whole, and all read it.
    await link(temporary, file).catch(unless('EEXIST'))
  } finally {
    await unlink(temporary).catch(unless('ENOENT'))
  }
  const keys = await readKeys(file)
  if (!keys) throw new Error(`${file}: disappeared while being made`)
  return keys
}

async function readKeys(file: string): Promise<Keys | undefined> {
  const text = await readFile(file, 'utf8').catch(unless('ENOENT'))
  if (text === undefined) return undefined
  const { CODE_KEYS, PII_KEYS, INDEX_KEY }: Record<string, unknown> = Object(parseJson(text))
  const code = KEY_RING.parse(String(CODE_KEYS))
  const pii = KEY_RING.parse(String(PII_KEYS))
  const index = KEY.parse(String(INDEX_KEY))
  if (code && pii && index) return { code, pii, index }
  throw new Error(`${file}: must hold the keys that were made with this data directory; restore the file from a copy`)
}

function unless(code: string) {
  return (error: NodeJS.ErrnoException): undefined => {
    if (error.code !== code) throw error
  }
}
