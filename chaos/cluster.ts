import { once } from 'node:events'
import { chown, cp, mkdir, open, readdir, rm, writeFile } from 'node:fs/promises'
import { type AddressInfo, createServer } from 'node:net'
import { dirname, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import pg from 'pg'
import { type Cluster, openCluster, run } from '../src/embedded/postgres-cluster.ts'

/** A PostgreSQL whose standby takes every commit before it is answered. Disposing stops both. */
export interface ReplicatedPostgres extends AsyncDisposable {
  /** Of the one that is written to. */
  port(): number
  /** Of the other one. */
  standbyPort(): number
  /** Of a database on it, at another port of this machine. */
  url(database: string, port?: number): string
  restart(mode: 'fast' | 'immediate'): Promise<void>
  /** Kills the primary and lets the standby take its place. A new standby follows by `rebuild`. */
  failOver(): Promise<void>
  /** Makes the server that failed a standby of the other; until then commits wait for nobody. */
  rebuild(): Promise<void>
}

interface Node {
  cluster: Cluster
  port: number
}

const SETTINGS = {
  listen_addresses: '127.0.0.1',
  unix_socket_directories: "''",
  max_connections: '200',
  shared_buffers: '32MB',
  wal_keep_size: '256MB',
  // The default leaves a standby that lost its primary alone for 5 s.
  wal_retrieve_retry_interval: '100ms',
  // Deadlocks are made on purpose.
  deadlock_timeout: '200ms',
}

/** Makes both servers under `dir`. */
export async function startReplicatedPostgres(dir: string): Promise<ReplicatedPostgres> {
  const cluster = await openCluster(join(dir, 'a'))
  const standbyDir = join(dir, 'b')
  await mkdir(standbyDir, { mode: 0o700 })
  const other = { ...cluster, dataDir: standbyDir, dir: join(standbyDir, 'postgres') }
  const nodes = [
    { cluster, port: await freePort() },
    { cluster: other, port: await freePort() },
  ] as const
  let [primary, standby]: readonly [Node, Node] = nodes

  const url = (database: string, port = primary.port) =>
    `postgres://postgres:${cluster.password}@127.0.0.1:${port}/${database}`

  async function query(text: string): Promise<Record<string, unknown>[]> {
    const client = new pg.Client(url('postgres'))
    client.on('error', () => {})
    await client.connect()
    try {
      return (await client.query(text)).rows
    } finally {
      await client.end()
    }
  }

  async function awaitStandby(): Promise<void> {
    const names = "ALTER SYSTEM SET synchronous_standby_names = '*'"
    for (;;) {
      const rows = await query("SELECT FROM pg_stat_replication WHERE state = 'streaming'")
      if (rows.length > 0) break
      await sleep(50)
    }
    await query(names)
    await query('SELECT pg_reload_conf()')
  }

  /** Copies the running primary's files, all but its log of writes, which the standby fetches itself. */
  async function copyPrimary(): Promise<void> {
    await rm(standby.cluster.dir, { recursive: true, force: true })
    const backup = new pg.Client(url('postgres'))
    backup.on('error', () => {})
    await backup.connect()
    try {
      await backup.query("SELECT pg_backup_start('chaos', true)")
      const left = new Set(['postmaster.pid', 'postmaster.opts', 'pg_wal', 'postgresql.auto.conf'])
      await cp(primary.cluster.dir, standby.cluster.dir, {
        recursive: true,
        filter: (source) => !(dirname(source) === primary.cluster.dir && left.has(source.split('/').at(-1) ?? '')),
      }).catch((error) => {
        // Tables come and go while they are copied; the log of writes makes up for it.
        if (error.code !== 'ENOENT') throw error
      })
      const { rows } = await backup.query('SELECT labelfile FROM pg_backup_stop(false)')
      await writeFile(join(standby.cluster.dir, 'backup_label'), rows[0].labelfile)
    } finally {
      await backup.end()
    }
    await mkdir(join(standby.cluster.dir, 'pg_wal'))
    await beStandby()
  }

  async function beStandby(): Promise<void> {
    const { dir: path, owner, password } = standby.cluster
    const from = `host=127.0.0.1 port=${primary.port} user=postgres password=${password} application_name=standby`
    await writeFile(join(path, 'postgresql.auto.conf'), `primary_conninfo = '${from}'\n`)
    await writeFile(join(path, 'standby.signal'), '')
    if (owner) {
      for (const name of ['', ...(await readdir(path, { recursive: true }))]) {
        await chown(join(path, name), owner.uid, owner.gid)
      }
    }
    await start(standby)
    await awaitStandby()
  }

  await start(primary)
  await stop(primary, 'fast')
  await cp(primary.cluster.dir, standby.cluster.dir, { recursive: true })
  await start(primary)
  await beStandby()

  return {
    port: () => primary.port,
    standbyPort: () => standby.port,
    url,
    async restart(mode) {
      await stop(primary, mode)
      await start(primary)
    },
    async failOver() {
      await stop(primary, 'immediate')
      await run(standby.cluster, standby.cluster.bin.pg_ctl, ['promote', '--wait', `--pgdata=${standby.cluster.dir}`])
      ;[primary, standby] = [standby, primary]
    },
    rebuild: copyPrimary,
    async [Symbol.asyncDispose]() {
      await Promise.allSettled(nodes.map((node) => stop(node, 'immediate')))
    },
  }
}

async function start({ cluster, port }: Node): Promise<void> {
  const path = join(cluster.dataDir, 'postgres.log')
  await using log = await open(path, 'a', 0o600)
  if (cluster.owner) {
    await log.chown(cluster.owner.uid, cluster.owner.gid)
    await chown(cluster.dataDir, cluster.owner.uid, cluster.owner.gid)
  }
  const options = Object.entries({ ...SETTINGS, port }).map(([name, value]) => `-c ${name}=${value}`)
  const args = ['start', '--wait', '--silent', `--pgdata=${cluster.dir}`, `--log=${path}`]
  await run(cluster, cluster.bin.pg_ctl, [...args, `--options=${options.join(' ')}`])
}

async function stop({ cluster }: Node, mode: 'fast' | 'immediate'): Promise<void> {
  await run(cluster, cluster.bin.pg_ctl, ['stop', '--wait', '--silent', `--mode=${mode}`, `--pgdata=${cluster.dir}`])
}

/** A port that nobody listens on now. */
export async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  server.close()
  await once(server, 'close')
  return port
}
