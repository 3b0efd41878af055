import { existsSync, globSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { expect, test } from 'vitest'
import { createMetrics } from '../../src/telemetry/metrics.ts'
import { blocksOf, codeIn, DOCUMENTS, ROOT, readDocument, rowsOf } from '../support/documents.ts'

const CONTRACT = 'proto/bank/signature/v1/signature.proto'
const SETTING = /\b[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)*(?==)/g

test('there is a document for each reader', () => {
  expect(DOCUMENTS).toEqual(
    expect.arrayContaining(['README.md', 'CONTRIBUTING.md', 'CHANGELOG.md', 'docs/operating.md']),
  )
})

test.for(DOCUMENTS)('every link in %s leads to a file and a heading', (path) => {
  const links = [...withoutCode(readDocument(path)).matchAll(/\]\(([^)]+)\)/g)].map(([, link = '']) => link)
  expect(links.filter((link) => !/^https?:/.test(link) && !leadsSomewhere(path, link))).toEqual([])
})

test.for(DOCUMENTS)('%s names only scripts and tests that exist', (path) => {
  const { scripts } = JSON.parse(readDocument('package.json'))
  const commands = ['', 'by hand', 'production'].flatMap((info) => blocksOf(path, 'sh', info))
  const named = [...commands.join('\n').matchAll(/npm run ([\w:]+)/g)].map(([, name = '']) => name)
  expect(named.filter((name) => !(name in scripts))).toEqual([])
  const tests = [...commands.join('\n').matchAll(/vitest run ([\w-]+)/g)].map(([, name]) => name)
  expect(tests.filter((name) => globSync(`test/**/${name}.test.ts`, { cwd: ROOT }).length === 0)).toEqual([])
})

test('README has the two commands to try it by, and stays short', () => {
  const readme = readDocument('README.md')
  for (const command of ['npm ci && npm run demo', 'npm ci && npm test']) expect(readme).toContain(command)
  expect(readme.split('\n').length).toBeLessThan(150)
})

test('what the documents set in production is in a table of settings', () => {
  const blocks = DOCUMENTS.flatMap((path) => blocksOf(path, 'sh', 'production'))
  const set = blocks.flatMap((text) => text.match(SETTING) ?? [])
  const rows = [...readDocument('docs/operating.md').matchAll(/^\| (`[A-Z].*?) \|/gm)]
  const known = rows.flatMap(([, names = '']) => codeIn(names))
  expect(set).toContain('DATABASE_URL')
  expect(set.filter((name) => !known.includes(name))).toEqual([])
})

test('the table of metrics has every metric with its labels, and no other', async () => {
  const metrics = createMetrics()
  metrics.provider('twilio-sms')
  metrics.watchInFlight(new Map())
  metrics.watchPauses(() => new Map())
  metrics.watchPool(() => ({ total: 0, idle: 0, waiting: 0 }))
  const page = await metrics.registry.metrics()
  const ours = [...page.matchAll(/^# TYPE (\w+)/gm)]
    .map(([, name = '']) => name)
    .filter((name) => !/^(nodejs|process)_/.test(name))
    .map((name) => {
      const { labelNames = [] } = metrics.registry.getSingleMetric(name) as { labelNames?: string[] }
      return labelNames.length > 0 ? `${name}{${labelNames.join(',')}}` : name
    })
  expect(
    rowsOf('docs/operating.md', 'Metrics')
      .flatMap(([name = '']) => codeIn(name))
      .sort(),
  ).toEqual(ours.sort())
})

test('the table of errors has every reason', () => {
  const reasons = readDocument('src/errors.ts').match(/(?<=\| ')[A-Z_]+(?=')/g) ?? []
  const told = rowsOf('docs/integrating.md', 'Errors').flatMap(([reason = '']) => reason.split(', '))
  expect(told.sort()).toEqual([...new Set([...reasons, 'INTERNAL'])].sort())
})

test('the table of events has every event of the timeline, as it is stored and as the contract names it', () => {
  const stored = readDocument('src/domain/signature.ts').match(/(?<=')[A-Z]+_[A-Z_]+(?=')/g) ?? []
  const shown = readDocument(CONTRACT).match(/(?<=TIMELINE_EVENT_TYPE_)(?!UNSPECIFIED)[A-Z_]+/g) ?? []
  const table = rowsOf('docs/record.md', 'The timeline').join('\n')
  const told = table.match(/(?<=\bcalls it |^)[A-Z]+_[A-Z_]+/gm) ?? []
  expect(told).toEqual(expect.arrayContaining([...stored, ...shown]))
})

test('the changelog has the version that this is', () => {
  const { version } = JSON.parse(readDocument('package.json'))
  expect(readDocument('CHANGELOG.md')).toMatch(
    new RegExp(`^## \\[${version.replaceAll('.', '\\.')}\\] - \\d{4}-\\d\\d-\\d\\d$`, 'm'),
  )
})

function leadsSomewhere(path: string, link: string): boolean {
  const [file = '', anchor] = link.split('#')
  const target = file === '' ? path : join(dirname(path), file)
  if (!existsSync(join(ROOT, target))) return false
  return anchor === undefined || anchorsOf(target).includes(anchor)
}

/** As GitHub makes them of headings. */
function anchorsOf(path: string): string[] {
  return [...withoutCode(readFileSync(join(ROOT, path), 'utf8')).matchAll(/^#+ (.*)$/gm)].map(([, heading = '']) =>
    heading
      .toLowerCase()
      .replaceAll(/[^\p{L}\p{N} _-]/gu, '')
      .replaceAll(' ', '-'),
  )
}

/** A document without its fenced blocks. */
function withoutCode(text: string): string {
  return text.replaceAll(/^ *```.*?^ *```$/gms, '')
}
