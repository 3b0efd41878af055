import { execFile } from 'node:child_process'
import { chmod, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { loadConfig } from '../../src/config.ts'
import { loadOrCreateLocalKeys } from '../../src/embedded/local-keys.ts'

let parent: string
let dataDir: string

beforeEach(async () => {
  parent = await mkdtemp(join(tmpdir(), 'keys-'))
  dataDir = join(parent, 'new', 'data')
})
afterEach(() => rm(parent, { recursive: true }))

const mode = async (path: string) => (await stat(path)).mode & 0o777

test('keys are made once, in a file that only its owner can read, and kept', async () => {
  const made = await loadOrCreateLocalKeys(dataDir)
  for (const ring of [made.code, made.pii]) {
    expect(ring.currentId).toBe('local')
    expect(ring.byId.get('local')).toHaveLength(32)
  }
  expect(new Set([made.code.byId.get('local'), made.pii.byId.get('local'), made.index].map(String)).size).toBe(3)
  expect(await mode(dataDir)).toBe(0o700)
  expect(await mode(join(dataDir, 'keys.json'))).toBe(0o600)
  expect(await loadOrCreateLocalKeys(dataDir)).toEqual(made)
  expect(await readdir(dataDir)).toEqual(['keys.json'])
})

test('the kept keys can be given as settings', async () => {
  const made = await loadOrCreateLocalKeys(dataDir)
  const settings = JSON.parse(await readFile(join(dataDir, 'keys.json'), 'utf8'))
  expect((await loadConfig(settings)).keys).toEqual(made)
})

test('processes that start at once end with the same keys', async () => {
  const script = `
    import { loadOrCreateLocalKeys } from ${JSON.stringify(import.meta.resolve('../../src/embedded/local-keys.ts'))}
    const keys = await Promise.all([1, 2, 3, 4].map(() => loadOrCreateLocalKeys(${JSON.stringify(dataDir)})))
    process.stdout.write(keys.map(({ index }) => index.toString('base64')).join(' '))`
  const start = () => promisify(execFile)(process.execPath, ['--input-type=module', '-e', script])
  const outputs = await Promise.all([start(), start(), start(), start()])
  const { index } = await loadOrCreateLocalKeys(dataDir)
  for (const { stdout } of outputs) expect(new Set(stdout.split(' '))).toEqual(new Set([index.toString('base64')]))
  expect(await readdir(dataDir)).toEqual(['keys.json'])
})

test.for(['', 'secret-but-not-json', '{"INDEX_KEY":"c2VjcmV0"}', '"secret"', 'null'])(
  'a broken file (%s) is named, not quoted and not overwritten',
  async (text) => {
    const file = join(parent, 'keys.json')
    await writeFile(file, text)
    const error = await loadOrCreateLocalKeys(parent).catch((error: Error) => error)
    expect(error).toBeInstanceOf(Error)
    expect(String(error)).toContain(file)
    if (text) expect(String(error)).not.toContain(text)
    expect(String(error)).not.toContain('c2VjcmV0')
    expect(await readFile(file, 'utf8')).toBe(text)
  },
)

test('a data directory that exists keeps its permissions', async () => {
  await chmod(parent, 0o755)
  await loadOrCreateLocalKeys(parent)
  expect(await mode(parent)).toBe(0o755)
})
