import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { loadConfig, loadDatabaseConfig } from '../../src/config.ts'
import { useEgressProxy } from '../../src/egress-proxy.ts'
import type { Env } from '../../src/settings.ts'

const ROOT = join(import.meta.dirname, '../..')
const SETTING = /`([A-Z][A-Z0-9_]+)`/g

test('every setting that the code reads stands in a settings table, and the tables name no other', async () => {
  const tables = documents().flatMap(settingsRows)
  const read = await settingsRead()
  expect(tables.length).toBeGreaterThan(0)
  expect([...read].filter((name) => !tables.some((cells) => namesIn(cells.join('|')).includes(name)))).toEqual([])
  expect(tables.flatMap(([first = '']) => namesIn(first)).filter((name) => !read.has(name))).toEqual([])
})

test('a setting that is only in a table, or in none, is seen', () => {
  const text =
    '| other |\n|---|\n| `NOT_ONE` |\n\n| setting | default | |\n|---|---|---|\n| `OLD_NAME`, `PORT` | 1 | see `NEW_NAME` |\n\ntext'
  expect(settingsRows(text)).toEqual([['`OLD_NAME`, `PORT`', '1', 'see `NEW_NAME`']])
  expect(namesIn('`OLD_NAME`, `PORT`')).toEqual(['OLD_NAME', 'PORT'])
})

/** The texts of all documents of the root and of docs. */
function documents(): string[] {
  return ['.', 'docs'].flatMap((folder) =>
    readdirSync(join(ROOT, folder))
      .filter((name) => name.endsWith('.md'))
      .map((name) => readFileSync(join(ROOT, folder, name), 'utf8')),
  )
}

/** The cells of each row in the tables whose first column is headed `setting`. */
function settingsRows(text: string): string[][] {
  const tables = text.split(/\n(?!\|)/).map((block) => block.split('\n').filter((line) => line.startsWith('|')))
  return tables
    .filter(([header = '']) => /^\| *settings? *\|/i.test(header))
    .flatMap(([, , ...rows]) =>
      rows.map((row) =>
        row
          .split('|')
          .slice(1, -1)
          .map((cell) => cell.trim()),
      ),
    )
}

function namesIn(text: string): string[] {
  return [...text.matchAll(SETTING)].map(([, name = '']) => name)
}

/** The names that the code asks an environment for, wherever its secrets are; a secret's NAME_FILE goes without saying. */
async function settingsRead(): Promise<Set<string>> {
  const names = new Set<string>()
  const recorded = (env: Env): Env =>
    new Proxy(env, {
      get(target, name) {
        if (typeof name === 'string') names.add(name)
        return Reflect.get(target, name)
      },
    })
  await loadConfig(recorded({}))
  for (const VAULT_AUTH of ['token', 'approle', 'kubernetes']) {
    // There is no such Vault, which is found out once all settings have been read.
    const vault = { SECRETS_SOURCE: 'vault', VAULT_ADDR: 'http://127.0.0.1:1', VAULT_AUTH }
    await loadConfig(recorded(vault)).catch(() => {})
  }
  await loadDatabaseConfig(recorded({}), new AbortController().signal)
  useEgressProxy(recorded({}))
  const isFileOfAnother = (name: string) => name.endsWith('_FILE') && names.has(name.slice(0, -'_FILE'.length))
  return new Set([...names].filter((name) => /^[A-Z]/.test(name) && !isFileOfAnother(name)))
}
