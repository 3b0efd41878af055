import { globSync, readFileSync } from 'node:fs'
import { join } from 'node:path'

export const ROOT = join(import.meta.dirname, '../..')

/** The paths of all documents, from the root. */
export const DOCUMENTS = globSync('**/*.md', { cwd: ROOT, exclude: (path) => path.includes('node_modules') })
  .filter((path) => !path.startsWith('.data/'))
  .sort()

/** A document's text. `path` is from the root. */
export function readDocument(path: string): string {
  return readFileSync(join(ROOT, path), 'utf8')
}

/**
 * The fenced blocks of a document in a language, those in lists without their indentation. `info` is what follows the
 * language, for example "by hand".
 */
export function blocksOf(path: string, language: string, info = ''): string[] {
  return [...readDocument(path).matchAll(/^( *)```([^\n]*)\n(.*?)^ *```$/gms)]
    .filter(([, , words]) => words === `${language} ${info}`.trimEnd())
    .map(([, indent = '', , text = '']) => text.replaceAll(new RegExp(`^${indent}`, 'gm'), ''))
}

/** The cells of every table below a heading of a document, without its head, row by row. */
export function rowsOf(path: string, heading: string): string[][] {
  const [, section = ''] = readDocument(path).split(new RegExp(`^#+ ${heading}$`, 'm'))
  return [...(section.split(/^#+ /m, 1)[0] ?? '').matchAll(/^\| (.*) \|$/gm)]
    .map(([, row = '']) => row.split(/ *\| */))
    .slice(1)
}

/** What is in code font in a text. */
export function codeIn(text: string): string[] {
  return [...text.matchAll(/`([^`]+)`/g)].map(([, code = '']) => code)
}
