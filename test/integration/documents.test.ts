import { execFile } from 'node:child_process'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { sql } from 'kysely'
import { expect, test } from 'vitest'
import { loadConfig } from '../../src/config.ts'
import { openDatabase } from '../../src/db/database.ts'
import { type Server, startServer } from '../../src/server.ts'
import { blocksOf, codeIn, DOCUMENTS, rowsOf } from '../support/documents.ts'
import { ownDatabase, PATH, PORTS, ROOT } from '../support/service-process.ts'

const RUN = DOCUMENTS.filter((path) => blocksOf(path, 'sh').length > 0)

/** What the answers to a document's commands hold when these did what the document says. */
const LEADS_TO: Record<string, string[]> = {
  'README.md': ['SIGNATURE_STATUS_PENDING', 'ACME Ltd', 'SIGNATURE_STATUS_SIGNED'],
  'docs/integrating.md': ['SIGNATURE_STATUS_ABORTED', 'USER_CANCELLED'],
  'docs/operating.md': ['nothing to migrate', 'signatures_total', 'CHANNEL_VOICE'],
  'docs/record.md': ['SIGNATURE_STATUS_PENDING', 'SIGNATURE_STARTED', 'deliveryReport'],
  'docs/routing.md': ['"version": 3', 'too many pushes', 'fcm-push', 'INC-4711 is over'],
}

/**
 * Commands run where their files do no harm, so npx and npm are told where this checkout is. An answer that an HTTP server
 * refuses with ends the shell, too.
 */
const PRELUDE = `set -e
npx() { "$@"; }
npm() { command npm --prefix "${ROOT}" "$@"; }
curl() { command curl --silent --show-error --fail-with-body "$@"; }
`

interface Message {
  sid: string
  body: string
}

test('what the commands of every document lead to is known', () => {
  expect(RUN).toEqual(Object.keys(LEADS_TO))
})

test.for(RUN)('the commands of %s do what they say, one after the other', { timeout: 60_000 }, async (path) => {
  const settings = { ...PORTS, LOG_LEVEL: 'silent', ...(await ownDatabase()) }
  await using service = await startServer(await loadConfig(settings))
  const directory = await mkdtemp(join(tmpdir(), 'signature-router-documents-'))
  // What they migrate down and up again is a database that nothing else uses.
  const env = { PATH, HOME: directory, npm_config_update_notifier: 'false', ...(await ownDatabase()) }
  const seen: Record<string, string> = {}
  const answers: string[] = []
  try {
    for (const command of blocksOf(path, 'sh').flatMap(commandsOf)) {
      const text = await filledIn(command, service, seen)
      expect(text).not.toMatch(/<[a-z.]+>/)
      const { stdout } = await promisify(execFile)('sh', ['-c', PRELUDE + text], { cwd: directory, env })
      const { signature, challenge } = answerIn(stdout)
      if (signature) seen['signature.id'] = signature.id
      if (challenge) seen['challenge.id'] = challenge.id
      answers.push(stdout)
    }
  } finally {
    await rm(directory, { recursive: true })
  }
  for (const word of LEADS_TO[path] ?? []) expect(answers.join('\n')).toContain(word)
})

test('the queries of the documents run', async () => {
  const { DATABASE_URL } = await ownDatabase()
  await using database = openDatabase(DATABASE_URL)
  const queries = DOCUMENTS.flatMap((path) => blocksOf(path, 'sql'))
  expect(queries).not.toEqual([])
  for (const text of queries) expect((await sql.raw(text).execute(database.db)).rows).toEqual([])
})

test('the record names every table', async () => {
  const { DATABASE_URL } = await ownDatabase()
  await using database = openDatabase(DATABASE_URL)
  const { rows } = await sql<{ name: string }>`
    SELECT tablename AS name FROM pg_tables WHERE schemaname = 'public' AND tablename NOT LIKE 'kysely%'
  `.execute(database.db)
  const named = rowsOf('docs/record.md', 'The tables').flatMap(([name = '']) => codeIn(name))
  expect(named.sort()).toEqual(rows.map(({ name }) => name).sort())
})

/** The commands of a block: an empty line stands between two. */
function commandsOf(block: string): string[] {
  return block.split(/\n\n+/)
}

/** The command with the ports of this service, and with what a reader would put in by then in place of its <words>. */
async function filledIn(command: string, service: Server, seen: Record<string, string>): Promise<string> {
  const { grpcPort, httpPort, adminPort, sandboxUrl } = service
  const ports = new Map([
    ['50051', grpcPort],
    ['8080', httpPort],
    ['9090', adminPort],
    ['8025', Number(new URL(sandboxUrl ?? '').port)],
  ])
  const [message] = (await (await fetch(`${sandboxUrl}/messages`)).json()) as Message[]
  const words: Record<string, string | undefined> = {
    ...seen,
    sid: message?.sid,
    code: /\b\d{6}\b/.exec(message?.body ?? '')?.[0],
  }
  return command
    .replaceAll(/(?<=http:\/\/127\.0\.0\.1:)\d+/g, (port) => String(ports.get(port)))
    .replaceAll(/<([a-z.]+)>/g, (word, name) => words[name] ?? word)
}

/** The signature and the challenge in an answer, if it is one that has them. */
function answerIn(stdout: string): Record<'signature' | 'challenge', { id: string } | undefined> {
  try {
    return JSON.parse(stdout)
  } catch {
    return { signature: undefined, challenge: undefined }
  }
}
