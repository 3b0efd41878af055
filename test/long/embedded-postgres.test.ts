import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { chown, mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'
import { Client, Pool } from 'pg'
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest'
import { type EmbeddedPostgres, startEmbeddedPostgres } from '../../src/embedded/embedded-postgres.ts'
import { requireLibraryLinks, run } from '../../src/embedded/postgres-cluster.ts'

const root = process.getuid?.() === 0
const dirs: string[] = []
const children: ChildProcess[] = []
/** Initialised, and stopped between tests. Those that would spoil it take a copy. */
const template = await mkdtemp(join(tmpdir(), 'embedded-postgres-'))

beforeAll(async () => {
  await dispose(await startEmbeddedPostgres({ dataDir: template }))
})

afterAll(() => remove(template))

afterEach(async () => {
  for (const child of children.splice(0)) await killed(child)
  for (const dir of dirs.splice(0)) await remove(dir)
})

test('starts from an initialisation that was cut short as from nothing, and keeps its data over a stop and a start', async () => {
  const dataDir = await tempDir()
  const halfMade = join(dataDir, 'postgres.new-cut')
  await mkdir(halfMade)
  await writeFile(join(halfMade, 'PG_VERSION'), '18\n')
  {
    await using postgres = await startEmbeddedPostgres({ dataDir })
    await query(postgres.url, 'create table kept as select 42 as n')
    expect(await readdir(dataDir)).not.toContain('postgres.new-cut')
  }
  expect(await postmasterPid(dataDir)).toBeUndefined()

  await using postgres = await startEmbeddedPostgres({ dataDir })
  expect(await query(postgres.url, 'select n from kept')).toEqual([{ n: 42 }])
})

test('is UTF-8, durable, reachable over loopback only and asks for the password', async () => {
  const dataDir = template
  await using postgres = await startEmbeddedPostgres({ dataDir })
  expect(
    await query(
      postgres.url,
      `select current_database() as database, current_setting('server_encoding') as encoding,
         current_setting('fsync') as fsync, current_setting('listen_addresses') as address,
         current_setting('unix_socket_directories') as sockets, current_setting('max_connections') as connections`,
    ),
  ).toEqual([
    {
      database: 'signature_router',
      encoding: 'UTF8',
      fsync: 'on',
      address: '127.0.0.1',
      sockets: '',
      connections: '400',
    },
  ])
  const wrong = new URL(postgres.url)
  wrong.password = 'wrong'
  await expect(query(wrong.href, 'select 1')).rejects.toMatchObject({ code: '28P01' })
  expect((await stat(join(dataDir, 'postgres-password'))).mode & 0o777).toBe(0o600)
  expect((await stat(join(dataDir, 'postgres'))).mode & 0o777).toBe(0o700)
})

test('the password is on no command line and in no log, from the first start on', async () => {
  const dataDir = await tempDir()
  let started = false
  const starting = startEmbeddedPostgres({ dataDir }).finally(() => {
    started = true
  })
  const seen: string[] = []
  while (!started) seen.push((await promisify(execFile)('ps', ['-eo', 'args'])).stdout)
  await using postgres = await starting
  const { password } = new URL(postgres.url)
  expect(password).toHaveLength(48)
  expect(seen.some((list) => list.includes(`initdb --pgdata=${dataDir}`))).toBe(true)
  expect(seen.some((list) => list.includes(password))).toBe(false)
  expect(await readFile(join(dataDir, 'postgres.log'), 'utf8')).not.toContain(password)
})

test('what a failing statement holds does not reach the log', async () => {
  const dataDir = template
  await using postgres = await startEmbeddedPostgres({ dataDir })
  await query(postgres.url, 'create table person (phone text primary key, n int check (n > 0))')
  const insert = 'insert into person values ($1, 1)'
  await query(postgres.url, insert, ['+34600111222'])
  await expect(query(postgres.url, insert, ['+34600111222'])).rejects.toThrow('duplicate key')
  await expect(query(postgres.url, "insert into person values ('+34600111222', 0)")).rejects.toThrow('check constraint')
  await expect(query(postgres.url, "select '+34600111222'::uuid")).rejects.toThrow('+34600111222')
  expect(await readFile(join(dataDir, 'postgres.log'), 'utf8')).not.toContain('600111222')
})

test('a server whose service was killed is used as it is', async () => {
  const dataDir = await initialised()
  const { child, url } = await startService(dataDir)
  await query(url, 'create table kept as select 42 as n')
  const pid = await postmasterPid(dataDir)
  await killed(child)

  await using postgres = await startEmbeddedPostgres({ dataDir })
  expect(postgres.url).toBe(url)
  expect(await postmasterPid(dataDir)).toBe(pid)
  expect(await query(postgres.url, 'select n from kept')).toEqual([{ n: 42 }])
})

test('committed data survives the killing of the service and of the server', async () => {
  const dataDir = await initialised()
  const { child, url } = await startService(dataDir)
  await query(url, 'create table kept as select 42 as n')
  const pid = await postmasterPid(dataDir)
  await killed(child)
  kill(pid ?? 0, 'SIGKILL')

  await using postgres = await startEmbeddedPostgres({ dataDir })
  expect(await postmasterPid(dataDir)).not.toBe(pid)
  expect(await query(postgres.url, 'select n from kept')).toEqual([{ n: 42 }])
})

test('a server that is stopping is waited for and started again', async () => {
  const dataDir = await initialised()
  const { child, url } = await startService(dataDir)
  await query(url, 'create table kept as select generate_series(1, 200000) as n')
  await killed(child)
  kill((await postmasterPid(dataDir)) ?? 0, 'SIGINT')

  await using postgres = await startEmbeddedPostgres({ dataDir })
  expect(await query(postgres.url, 'select count(*)::int from kept')).toEqual([{ count: 200_000 }])
})

test('services that start at the same time end up with one server', async () => {
  const dataDir = await tempDir()
  for (const _ of ['empty', 'stopped']) {
    const services = await Promise.all([1, 2, 3].map(() => startEmbeddedPostgres({ dataDir })))
    expect(new Set(services.map(({ url }) => url)).size).toBe(1)
    expect(await query(services[0]?.url ?? '', 'select 1 as n')).toEqual([{ n: 1 }])
    // All leave at once as well: the last one stops the server, whichever that is.
    await Promise.all(services.map(dispose))
    expect(await postmasterPid(dataDir)).toBeUndefined()
  }
  expect((await readdir(dataDir)).sort()).toEqual(['postgres', 'postgres-password', 'postgres.log'])
})

test('a service that starts while another one stops gets a server that lasts', async () => {
  const dataDir = template
  let current = await startEmbeddedPostgres({ dataDir })
  for (let round = 0; round < 8; round++) {
    const stopping = dispose(current)
    await sleep(round * 4)
    current = await startEmbeddedPostgres({ dataDir })
    await stopping
    expect(await query(current.url, 'select 1 as n')).toEqual([{ n: 1 }])
  }
  await dispose(current)
})

test('the server is left running while another service uses it, even with no query open', async () => {
  const dataDir = template
  const first = await startEmbeddedPostgres({ dataDir })
  const second = await startEmbeddedPostgres({ dataDir })
  await dispose(first)
  expect(await query(second.url, 'select 1 as n')).toEqual([{ n: 1 }])
  await dispose(second)
  expect(await postmasterPid(dataDir)).toBeUndefined()
})

test('the server is left running while any other client is connected', async () => {
  const dataDir = template
  const first = await startEmbeddedPostgres({ dataDir })
  const client = new Client(first.url)
  await client.connect()
  await dispose(first)
  expect((await client.query('select 1 as n')).rows).toEqual([{ n: 1 }])
  await client.end()

  const second = await startEmbeddedPostgres({ dataDir })
  expect(second.url).toBe(first.url)
  await dispose(second)
  expect(await postmasterPid(dataDir)).toBeUndefined()
})

test('the connections of a pool ended just before do not keep the server running', async () => {
  const dataDir = template
  const postgres = await startEmbeddedPostgres({ dataDir })
  const pool = new Pool({ connectionString: postgres.url, max: 20 })
  await Promise.all(Array.from({ length: 20 }, () => pool.query('select pg_sleep(0.05)')))
  await pool.end()
  await dispose(postgres)
  expect(await postmasterPid(dataDir)).toBeUndefined()
})

test('disposing after the server was killed is no error', async () => {
  const dataDir = await initialised()
  const postgres = await startEmbeddedPostgres({ dataDir })
  kill((await postmasterPid(dataDir)) ?? 0, 'SIGKILL')
  await dispose(postgres)
})

test('a service killed while it initialises leaves nothing in the way of the next', async () => {
  const dataDir = await tempDir()
  const child = spawnService(dataDir)
  await until(async () => (await readdir(dataDir)).some((name) => name.startsWith('postgres.new-')))
  await killed(child)
  await using postgres = await startEmbeddedPostgres({ dataDir })
  expect(await query(postgres.url, 'select 1 as n')).toEqual([{ n: 1 }])
})

test('a recorded process that is not the server is named, and nothing is started beside it', async () => {
  const dataDir = await initialised()
  const { uid, gid } = await stat(join(dataDir, 'postgres'))
  const other = spawn('sleep', ['60'], root ? { uid, gid } : {})
  children.push(other)
  await once(other, 'spawn')
  const file = join(dataDir, 'postgres', 'postmaster.pid')
  await writeFile(file, `${other.pid}\n${dataDir}/postgres\n1\n1\n\n127.0.0.1\n 1 1\nready   \n`)
  await chown(file, uid, gid)
  await expect(startEmbeddedPostgres({ dataDir })).rejects.toThrow(
    new RegExp(`postmaster.pid names process ${other.pid}, .*ECONNREFUSED.* delete that file and start again`),
  )

  await killed(other)
  await using postgres = await startEmbeddedPostgres({ dataDir })
  expect(await query(postgres.url, 'select 1 as n')).toEqual([{ n: 1 }])
})

test('a copy of the data does not use the server of the original', async () => {
  const dataDir = await initialised()
  const copyDir = await tempDir()
  await using original = await startEmbeddedPostgres({ dataDir })
  await promisify(execFile)('cp', ['-a', `${dataDir}/.`, copyDir])
  await expect(startEmbeddedPostgres({ dataDir: copyDir })).rejects.toThrow(`it serves ${dataDir}/postgres`)
  expect(await query(original.url, 'select 1 as n')).toEqual([{ n: 1 }])
  await rm(join(copyDir, 'postgres', 'postmaster.pid'))
})

test('a server that cannot start says why', async () => {
  const dataDir = await initialised()
  await writeFile(join(dataDir, 'postgres', 'postgresql.auto.conf'), 'shared_buffers = plenty\n')
  await expect(startEmbeddedPostgres({ dataDir })).rejects.toThrow(/invalid value for parameter "shared_buffers"/)
})

test('data without its password is refused, not overwritten', async () => {
  const dataDir = await initialised()
  await rm(join(dataDir, 'postgres-password'))
  await expect(startEmbeddedPostgres({ dataDir })).rejects.toThrow(/postgres-password is missing/)
})

test.runIf(root && process.platform === 'linux')('root may have the project where nobody else can enter', async () => {
  const closed = await tempDir()
  const { initdb } = await import(`@embedded-postgres/linux-${process.arch}`)
  await promisify(execFile)('cp', ['-a', dirname(dirname(initdb)), closed])
  const { uid, gid } = await stat(join(template, 'postgres'))
  await run({ owner: { uid, gid } }, join(closed, 'native', 'bin', 'initdb'), ['--show', '-D', join(closed, 'data')])
})

test.runIf(root)('data that root has restored from a copy is given to the user who runs the server', async () => {
  const dataDir = await initialised()
  await promisify(execFile)('chown', ['-R', '0:0', join(dataDir, 'postgres')])
  await using postgres = await startEmbeddedPostgres({ dataDir })
  expect(await query(postgres.url, 'select 1 as n')).toEqual([{ n: 1 }])
})

test('libraries that an install without scripts left unlinked are reported with the remedy', async () => {
  const dir = await tempDir()
  const native = join(dir, 'native')
  await mkdir(join(native, 'lib'), { recursive: true })
  const links = [{ source: 'native/lib/libpq.so.5.18', target: 'native/lib/libpq.so.5' }]
  await writeFile(join(native, 'pg-symlinks.json'), JSON.stringify(links))
  await expect(requireLibraryLinks(native)).rejects.toThrow(/npm ci without --ignore-scripts .*allowScripts/)
  await writeFile(join(native, 'lib', 'libpq.so.5'), '')
  await requireLibraryLinks(native)
})

async function tempDir(): Promise<string> {
  const dir = await mkdtemp(join(tmpdir(), 'embedded-postgres-'))
  dirs.push(dir)
  return dir
}

async function remove(dir: string): Promise<void> {
  const pid = await postmasterPid(dir)
  if (pid) kill(pid, 'SIGQUIT')
  await until(async () => !(await servesAnything(dir)))
  await rm(dir, { recursive: true, maxRetries: 20 })
}

async function initialised(): Promise<string> {
  const dir = await tempDir()
  await promisify(execFile)('cp', ['-a', `${template}/.`, dir])
  return dir
}

async function query(url: string, text: string, values: unknown[] = []): Promise<unknown[]> {
  const client = new Client(url)
  await client.connect()
  try {
    return (await client.query(text, values)).rows
  } finally {
    await client.end()
  }
}

async function dispose(postgres: EmbeddedPostgres): Promise<void> {
  await postgres[Symbol.asyncDispose]()
}

function spawnService(dataDir: string): ChildProcess {
  const module = new URL('../../src/embedded/embedded-postgres.ts', import.meta.url).href
  const script = `const { startEmbeddedPostgres } = await import(${JSON.stringify(module)})
    process.stdout.write((await startEmbeddedPostgres({ dataDir: ${JSON.stringify(dataDir)} })).url)`
  const child = spawn(process.execPath, ['--input-type=module', '-e', script], { stdio: ['ignore', 'pipe', 'inherit'] })
  children.push(child)
  return child
}

async function startService(dataDir: string): Promise<{ child: ChildProcess; url: string }> {
  const child = spawnService(dataDir)
  const [url] = await once(child.stdout ?? child, 'data')
  return { child, url: String(url) }
}

async function killed(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return
  const exit = once(child, 'exit')
  child.kill('SIGKILL')
  await exit
}

function kill(pid: number, signal: NodeJS.Signals | 0): boolean {
  try {
    return process.kill(pid, signal)
  } catch {
    return false
  }
}

async function postmasterPid(dataDir: string): Promise<number | undefined> {
  const text = await readFile(join(dataDir, 'postgres', 'postmaster.pid'), 'utf8').catch(() => '')
  return Number.parseInt(text, 10) || undefined
}

async function servesAnything(dataDir: string): Promise<boolean> {
  const { stdout } = await promisify(execFile)('ps', ['-eo', 'stat=,args='])
  return stdout.split('\n').some((line) => !line.startsWith('Z') && line.includes(`${dataDir}/`))
}

async function until(condition: () => Promise<boolean>): Promise<void> {
  while (!(await condition())) await sleep(20)
}
