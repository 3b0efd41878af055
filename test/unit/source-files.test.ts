import { readdirSync } from 'node:fs'
import { extname, join } from 'node:path'
import { expect, test } from 'vitest'

const SRC = join(import.meta.dirname, '../../src')
/** The phone page of the sandbox is JavaScript and CSS. */
const KINDS = ['.ts', '.js', '.css']

test('src holds only files of a kind that is used, and nothing that an editor or a merge left behind', () => {
  const files = readdirSync(SRC, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile())
  expect(files.map(({ name }) => name).filter((name) => !KINDS.includes(extname(name)))).toEqual([])
})
