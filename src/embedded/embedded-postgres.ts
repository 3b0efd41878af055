import { once } from 'node:events'
import { open, readFile } from 'node:fs/promises'
import { type AddressInfo, createServer } from 'node:net'
import { join } from 'node:path'
import { kill } from 'node:process'
import { setTimeout as sleep } from 'node:timers/promises'
import { Client } from 'pg'
import { type Cluster, openCluster, removeDrafts, run, unless } from './postgres-cluster.ts'

/** A PostgreSQL server on this machine. Disposing stops it, except while someone else is connected to it. */
export interface EmbeddedPostgres extends AsyncDisposable {
  /** postgres:// URL of the database, with its password. */
  readonly url: string
}

interface Postmaster {
  readonly pid: number
  readonly port: number
  /** A zombie still counts as running for PostgreSQL, until its parent has reaped it. */
  readonly state: 'ready' | 'changing' | 'zombie'
}

const DATABASE = 'signature_router'
/** Held shared by each service that uses the server, exclusively by the one that stops it. */
const LEASE_LOCK = 7_305_018
const LEASE_NAME = 'signature-router lease'
const CHANGING_MS = 30_000
const CONNECT_MS = 5_000
const STOP_MS = 60_000
const LEAVING_MS = 3_000
const POLL_MS = 50
const START_ATTEMPTS = 5
const LOGGED_MAX = 4000

const SETTINGS = {
  listen_addresses: '127.0.0.1',
  unix_socket_directories: "''",
  max_connections: '400',
  // The messages, details and statements of errors can hold personal data: the server's log gets none of them.
  log_statement: 'none',
  log_min_messages: 'log',
  log_min_error_statement: 'panic',
  log_error_verbosity: 'terse',
  log_parameter_max_length_on_error: '0',
}

/**
 * Starts a PostgreSQL on 127.0.0.1 from the npm package for this platform: data in `<dataDir>/postgres`, password in
 * `<dataDir>/postgres-password`, log in `<dataDir>/postgres.log`. A server that already runs on this data is used as it
 * is. Waits up to 30 s for one that is starting or stopping. Throws an Error that says why it can't be started.
 */
export async function startEmbeddedPostgres(options: { dataDir: string }): Promise<EmbeddedPostgres> {
  const cluster = await openCluster(options.dataDir)
  const { lease, port } = await reachServer(cluster)
  try {
    await createDatabase(lease)
    await removeDrafts(cluster)
  } catch (error) {
    await lease.end()
    throw error
  }
  return {
    url: `postgres://postgres:${cluster.password}@127.0.0.1:${port}/${DATABASE}`,
    async [Symbol.asyncDispose]() {
      await lease.end()
      await stopUnlessUsed(cluster)
    },
  }
}

/** PostgreSQL itself judges if postmaster.pid is stale, so one of several services starting at once wins. */
async function reachServer(cluster: Cluster): Promise<{ lease: Client; port: number }> {
  const deadline = Date.now() + CHANGING_MS
  for (let failures = 0; ; await sleep(POLL_MS)) {
    const postmaster = await findPostmaster(cluster)
    let trouble: unknown = postmaster?.state
    if (postmaster?.state === 'ready') {
      try {
        return { lease: await takeLease(cluster, postmaster), port: postmaster.port }
      } catch (error) {
        trouble = error
      }
    } else if (postmaster && Date.now() < deadline) continue
    try {
      await startServer(cluster)
    } catch (error) {
      // The port may have been taken meanwhile, or a killed server's last process may still be going.
      if (++failures < START_ATTEMPTS) continue
      if (!postmaster) throw error
      throw new Error(
        `${cluster.dir}/postmaster.pid names process ${postmaster.pid}, which exists but does not serve this data: ` +
          `${trouble}. If it is not a live PostgreSQL, delete that file and start again.`,
        { cause: error },
      )
    }
  }
}

/** The process that claims the cluster; after a crash it can be an unrelated one that got the same number. */
async function findPostmaster({ dir }: Cluster): Promise<Postmaster | undefined> {
  const text = await readFile(join(dir, 'postmaster.pid'), 'utf8').catch(unless('ENOENT'))
  const [pid = Number.NaN, , , port = Number.NaN] = (text ?? '').split('\n').map(Number)
  if (!(pid > 0 && signal(pid, 0))) return undefined
  if (await isZombie(pid)) return { pid, port, state: 'zombie' }
  return { pid, port, state: /^ready *$/m.test(text ?? '') ? 'ready' : 'changing' }
}

/** True if there is such a process of ours; another user's (EPERM) can't be the cluster's server. */
function signal(pid: number, name: NodeJS.Signals | 0): boolean {
  try {
    return kill(pid, name)
  } catch {
    return false
  }
}

async function isZombie(pid: number): Promise<boolean> {
  const stat = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => '')
  return stat.slice(stat.lastIndexOf(')')).startsWith(') Z')
}

/** A connection held for as long as the server is used: a pool may have none when it is idle. */
async function takeLease(cluster: Cluster, postmaster: Postmaster): Promise<Client> {
  const client = await connect(cluster, postmaster)
  try {
    // Waits while another service decides whether to stop the server, and fails when it does.
    await client.query('select pg_advisory_lock_shared($1)', [LEASE_LOCK])
  } catch (error) {
    await client.end()
    throw error
  }
  return client
}

async function connect({ dir, password }: Cluster, { port }: Postmaster): Promise<Client> {
  const client = new Client({
    host: '127.0.0.1',
    port,
    user: 'postgres',
    password,
    database: 'postgres',
    application_name: LEASE_NAME,
    connectionTimeoutMillis: CONNECT_MS,
  })
  // Emitted when the server goes away; the next query fails.
  client.on('error', () => {})
  await client.connect()
  const { rows } = await client.query("select current_setting('data_directory') as dir")
  if (rows[0].dir === dir) return client
  await client.end()
  throw new Error(`it serves ${rows[0].dir}`)
}

/** Throws an Error that holds what the server has logged. */
async function startServer(cluster: Cluster): Promise<void> {
  const path = join(cluster.dataDir, 'postgres.log')
  await using log = await open(path, 'a+', 0o600)
  if (cluster.owner) await log.chown(cluster.owner.uid, cluster.owner.gid)
  const { size } = await log.stat()
  const settings = Object.entries({ ...SETTINGS, port: await freePort() }).map(([name, value]) => `-c ${name}=${value}`)
  const args = [
    ...['start', '--wait', '--silent', `--timeout=${CHANGING_MS / 1000}`],
    ...[`--pgdata=${cluster.dir}`, `--log=${path}`, `--options=${settings.join(' ')}`],
  ]
  await run(cluster, cluster.bin.pg_ctl, args).catch(async (error: Error) => {
    const logged = (await readFile(path)).subarray(size).subarray(-LOGGED_MAX).toString()
    throw new Error(`${error.message}\n${path}:\n${logged}`, { cause: error })
  })
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  server.close()
  await once(server, 'close')
  return port
}

async function createDatabase(client: Client): Promise<void> {
  const { rowCount } = await client.query('select from pg_database where datname = $1', [DATABASE])
  // 42P04 and 23505: another service has created it meanwhile.
  if (rowCount === 0) await client.query(`create database ${DATABASE}`).catch(unless('42P04', '23505'))
}

async function stopUnlessUsed(cluster: Cluster): Promise<void> {
  const postmaster = await findPostmaster(cluster)
  const client = postmaster && (await connect(cluster, postmaster).catch(() => undefined))
  if (!client) return
  // A query fails when someone else is stopping the server already.
  const unused = await isUnused(client).catch(() => false)
  try {
    if (unused) await stopServer(cluster, postmaster.pid)
  } finally {
    await client.end()
  }
}

/** Takes the lock, so that no other service comes to use the server before it is stopped. */
async function isUnused(client: Client): Promise<boolean> {
  const { rows } = await client.query('select pg_try_advisory_lock($1) as alone', [LEASE_LOCK])
  if (!rows[0].alone) return false
  // Asked more than once: the backend of a connection just closed, such as the caller's pool, takes a moment to go.
  for (const deadline = Date.now() + LEAVING_MS; ; await sleep(POLL_MS)) {
    const { rowCount } = await client.query(
      "select from pg_stat_activity where backend_type = 'client backend' and application_name <> $1",
      [LEASE_NAME],
    )
    if (rowCount === 0) return true
    if (Date.now() > deadline) return false
  }
}

/** Not by pg_ctl stop, which goes on waiting when another service has started the next server meanwhile. */
async function stopServer(cluster: Cluster, pid: number): Promise<void> {
  // PostgreSQL's fast shutdown: ends the sessions and writes everything out.
  signal(pid, 'SIGINT')
  for (const deadline = Date.now() + STOP_MS; await isUp(cluster, pid); await sleep(POLL_MS)) {
    if (Date.now() > deadline) throw new Error(`PostgreSQL (${pid}) does not stop: see ${cluster.dataDir}/postgres.log`)
  }
}

async function isUp(cluster: Cluster, pid: number): Promise<boolean> {
  const postmaster = await findPostmaster(cluster)
  return postmaster?.pid === pid && postmaster.state !== 'zombie'
}
