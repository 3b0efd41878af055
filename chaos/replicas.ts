import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'
import { type Client, createClient } from '@connectrpc/connect'
import { createGrpcTransport } from '@connectrpc/connect-node'
import { SignatureService } from '../gen/bank/signature/v1/signature_pb.ts'
import { freePort } from './cluster.ts'
import { startWire, type Wire } from './wire.ts'

/** One process of the service, which is started again whenever it ends, and the networks around it. */
export interface Replica extends AsyncDisposable {
  readonly name: string
  /** Its way to PostgreSQL, its way to the vendor, and its clients' way to it. */
  readonly database: Wire
  readonly vendor: Wire
  readonly front: Wire
  readonly client: Client<typeof SignatureService>
  /** Kills it with -9; it is started again at once. */
  kill(): void
  signal(name: NodeJS.Signals): void
  /** Sets its clock off by so much. */
  shiftClock(offsetMs: number): Promise<void>
  /** Resolves when it listens. */
  up(): Promise<void>
}

export interface ReplicaOptions {
  name: string
  /** The checkout it runs from. */
  root: string
  dir: string
  env: Record<string, string>
  /** Their targets. */
  databasePort: number
  databaseUrl(port: number): string
  vendorPort: number
  vendorSettings(url: string): Record<string, string>
  onLine(line: string, replica: string): void
  /** It ended though nobody killed it, after it had listened. */
  onDeath(replica: string, how: string): void
}

const PRELOAD = join(import.meta.dirname, 'preload.ts')
const RESTART_MS = 200

/** Starts a replica and keeps it running. */
export async function startReplica(options: ReplicaOptions): Promise<Replica> {
  const { name, root, dir, onLine, onDeath } = options
  await using starting = new AsyncDisposableStack()
  const grpcPort = await freePort()
  const database = starting.use(await startWire(options.databasePort, (said) => said.includes('begin\0')))
  const vendor = starting.use(await startWire(options.vendorPort, (said) => /^(POST|GET) /.test(said)))
  const front = starting.use(await startWire(grpcPort, () => true))
  const clockFile = join(dir, `${name}.clock`)
  await writeFile(clockFile, '0')
  const env = {
    ...options.env,
    ...options.vendorSettings(`http://127.0.0.1:${vendor.port}`),
    PATH: process.env.PATH ?? '',
    DATABASE_URL: options.databaseUrl(database.port),
    GRPC_PORT: String(grpcPort),
    HTTP_PORT: String(await freePort()),
    ADMIN_PORT: '0',
    CHAOS_CLOCK_FILE: clockFile,
    CHAOS_WARM_UP: join(root, 'src/server.ts'),
    // A replica starts in half the time.
    NODE_COMPILE_CACHE: join(dir, 'compiled'),
  }

  let isEnding = false
  let child: ChildProcess | undefined
  let isUp = false
  let isKilled = false
  let listening = Promise.withResolvers<void>()
  const down = () => {
    if (isUp) listening = Promise.withResolvers()
    isUp = false
  }

  const prepare = () =>
    spawn(process.execPath, ['--disable-sigusr1', '--import', PRELOAD, join(root, 'src/main.ts')], {
      cwd: root,
      env,
      stdio: ['pipe', 'pipe', 'pipe'],
      // Ctrl-C is for the run, which ends its replicas itself.
      detached: true,
    })
  let spare = prepare()

  /** One life of the process. The next one is loaded meanwhile, so that it takes over at once. */
  async function live(): Promise<void> {
    const process_ = spare
    child = process_
    process_.stdin.on('error', () => {}).end('go')
    spare = prepare()
    let hasListened = false
    isKilled = false
    const last: string[] = []
    for (const stream of [process_.stdout, process_.stderr]) {
      createInterface({ input: stream }).on('line', (line) => {
        last.push(line)
        if (last.length > 20) last.shift()
        onLine(line, name)
        if (isKilled || !line.includes('"msg":"listening"')) return
        hasListened = isUp = true
        listening.resolve()
      })
    }
    const [code, signal] = await once(process_, 'close')
    down()
    // One that finds no database at its start gives up, and is started again as it would be anywhere.
    if (signal !== 'SIGKILL' && hasListened && !isEnding)
      onDeath(name, `${signal ?? `exit ${code}`}\n${last.join('\n')}`)
    if (signal !== 'SIGKILL' && !isEnding) await sleep(RESTART_MS)
  }

  async function keepAlive(): Promise<void> {
    while (!isEnding) await live()
  }

  const kept = keepAlive()
  starting.defer(async () => {
    isEnding = true
    child?.kill('SIGKILL')
    await kept
    spare.kill('SIGKILL')
  })
  const running = starting.move()
  return {
    name,
    database,
    vendor,
    front,
    client: createClient(SignatureService, createGrpcTransport({ baseUrl: `http://127.0.0.1:${front.port}` })),
    kill() {
      down()
      isKilled = true
      child?.kill('SIGKILL')
    },
    signal: (signal) => void child?.kill(signal),
    async shiftClock(offsetMs) {
      await writeFile(clockFile, String(offsetMs))
      await listening.promise
      child?.kill('SIGUSR2')
    },
    up: () => listening.promise,
    [Symbol.asyncDispose]: () => running.disposeAsync(),
  }
}
