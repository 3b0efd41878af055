import { readdirSync, readFileSync } from 'node:fs'
import { join, relative } from 'node:path'
import { expect, test } from 'vitest'

const ROOT = join(import.meta.dirname, '../..')

/** What each room may import besides itself; `types of x` allows only `import type`. A file right in src is a room of its own. */
const MAY_IMPORT: Record<string, string[]> = {
  domain: [],
  errors: [],
  telemetry: [],
  sandbox: [],
  net: [],
  settings: [],
  migrations: [],
  loop: [],
  db: ['domain', 'loop'],
  embedded: ['domain', 'secrets', 'settings'],
  secrets: ['domain', 'net', 'settings', 'types of providers'],
  providers: ['domain', 'errors', 'net', 'settings', 'telemetry'],
  usecases: ['domain', 'errors', 'db', 'providers', 'types of context'],
  background: ['db', 'loop', 'usecases', 'types of context'],
  rpc: ['domain', 'errors', 'net', 'usecases', 'types of context', 'gen'],
  http: ['net', 'usecases', 'types of context', 'telemetry'],
  context: ['domain', 'errors', 'telemetry', 'sandbox', 'db', 'secrets', 'providers', 'usecases'].map(typesOf),
  config: ['domain', 'providers', 'secrets', 'settings'],
  'connect-vendors': ['providers', 'sandbox', 'settings', ...['config', 'secrets', 'telemetry'].map(typesOf)],
  'open-secrets': ['config', 'db', 'secrets', 'telemetry', 'types of context'],
  'open-routing': ['db', 'providers', 'types of context'],
  'assemble-context': ['providers', ...['config', 'connect-vendors', 'context', 'db', 'open-secrets'].map(typesOf)],
  server: [
    'telemetry',
    'assemble-context',
    'connect-vendors',
    'open-routing',
    'open-secrets',
    'db',
    'embedded',
    'providers',
    'background',
    'rpc',
    'http',
    'types of config',
  ],
  'egress-proxy': ['config', 'settings'],
  main: ['config', 'egress-proxy', 'server'],
}

/** Every way to name a module: import and export … from, import for its effects, import(), and import.meta.resolve(). */
const IMPORT =
  /(?:\b(?<type>import type|export type)\b[\s\w$,*{}]*?\bfrom|\bfrom|\bimport|\b(?:import|resolve)\()\s*['"`](?<path>\.[^'"`]*)/g

test('each room imports only what it may know', () => {
  expect(offenders(files())).toEqual([])
})

test('the rule sees every way to import', () => {
  const ways = {
    'src/domain/a.ts': "import { x } from '../db/x.ts'",
    'src/domain/b.ts': "import type { X } from '../db/x.ts'",
    'src/domain/c.ts': "export * from '../db/x.ts'",
    'src/domain/d.ts': "import '../db/x.ts'",
    'src/domain/e.ts': "await import('../db/x.ts')",
    'src/domain/f.ts': "import {\n  x,\n} from '../db/x.ts'",
    'src/usecases/g.ts': "import { x } from '../rpc/x.ts'",
    'src/usecases/h.ts': "import { x } from '../context.ts'",
    'src/domain/i.ts': "import { X } from '../../gen/x_pb.ts'",
    'migrations/0001.ts': "import { x } from '../src/db/x.ts'",
    'src/odd/k.ts': "import { x } from '../domain/x.ts'",
    'src/usecases/j.ts': "export type X = string\nexport { x } from '../context.ts'",
    'src/usecases/l.ts': "import type { X } from '../context.ts'\nimport { y } from '../db/y.ts'\nimport z from 'z'",
  }
  expect(offenders(Object.entries(ways))).toEqual([
    ...['a', 'b', 'c', 'd', 'e', 'f'].map((name) => `src/domain/${name}.ts: domain -> db`),
    'src/usecases/g.ts: usecases -> rpc',
    'src/usecases/h.ts: usecases -> context',
    'src/domain/i.ts: domain -> gen',
    'migrations/0001.ts: migrations -> db',
    'src/odd/k.ts: odd -> domain',
    'src/usecases/j.ts: usecases -> context',
  ])
})

test('only main.ts reads the environment, the arguments and the signals of the process, or ends it', () => {
  const global = /\bprocess(?:\??\.|\[)['"]?[a-z]|=\s*(?:globalThis\.)?process\b/
  const imported = /import (?!(?:type )?\{ (?:kill|getuid)(?:, (?:kill|getuid))* \})[^'"]*? from '(?:node:)?process'/
  const offending = files().filter(
    ([file, text]) => file !== 'src/main.ts' && (global.test(text) || imported.test(text)),
  )
  expect(offending.map(([file]) => file)).toEqual([])
})

function typesOf(room: string): string {
  return `types of ${room}`
}

function offenders(sources: [file: string, text: string][]): string[] {
  return sources.flatMap(([file, text]) =>
    [...text.matchAll(IMPORT)].flatMap(({ groups = {} }) => {
      const { type, path = '' } = groups
      const [from, to] = [roomOf(file), roomOf(join(file, '..', path))]
      const allowed = MAY_IMPORT[from] ?? []
      const fine = from === to || allowed.includes(to) || (type && allowed.includes(typesOf(to)))
      return fine ? [] : [`${file}: ${from} -> ${to}`]
    }),
  )
}

/** The folder below src, or the file's name for a file right in it. */
function roomOf(file: string): string {
  return file.replace(/^src\//, '').split(/[./]/, 1)[0] ?? ''
}

function files(): [file: string, text: string][] {
  return ['src', 'migrations'].flatMap((folder) =>
    readdirSync(join(ROOT, folder), { recursive: true, withFileTypes: true })
      .filter((entry) => entry.name.endsWith('.ts'))
      .map((entry) => join(entry.parentPath, entry.name))
      .map((path) => [relative(ROOT, path), readFileSync(path, 'utf8')] satisfies [string, string]),
  )
}
