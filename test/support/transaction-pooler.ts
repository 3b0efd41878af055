import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { access, chown, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { getuid } from 'node:process'
import { vi } from 'vitest'
import { freePort } from '../../chaos/cluster.ts'

/** A pooler in transaction mode before the server of a database's URL. */
export interface TransactionPooler extends AsyncDisposable {
  /** The database's URL through it. */
  url: string
}

/** Which there are on this machine, by name. */
export async function transactionPoolers(): Promise<[string, (url: string) => Promise<TransactionPooler>][]> {
  const program = '/usr/sbin/pgbouncer'
  const isThere = await access(program).then(
    () => true,
    () => false,
  )
  if (!isThere) process.stderr.write(`there is no ${program}: only a strict stand-in shows that we can run behind it\n`)
  const standIn: [string, (url: string) => Promise<TransactionPooler>] = ['a strict pooler', startStrictPooler]
  return isThere ? [standIn, ['PgBouncer', (url) => startPgBouncer(program, url)]] : [standIn]
}

/** PgBouncer itself, with fewer connections to the server than a replica has to it. */
async function startPgBouncer(program: string, databaseUrl: string): Promise<TransactionPooler> {
  const target = new URL(databaseUrl)
  const port = await freePort()
  const directory = await mkdtemp(join(tmpdir(), 'pgbouncer-'))
  const server = `host=${target.hostname} port=${target.port} user=${target.username} password=${target.password}`
  const settings = [
    ...['[databases]', `* = ${server}`, '[pgbouncer]', 'listen_addr = 127.0.0.1', `listen_port = ${port}`],
    ...['unix_socket_dir =', 'auth_type = any', 'pool_mode = transaction', 'default_pool_size = 3'],
  ]
  const file = join(directory, 'pgbouncer.ini')
  await writeFile(file, settings.join('\n'))
  const nobody = 65534
  const isRoot = getuid?.() === 0
  if (isRoot) for (const path of [directory, file]) await chown(path, nobody, nobody)
  const child = spawn(program, ['--quiet', file], { stdio: 'ignore', ...(isRoot && { uid: nobody, gid: nobody }) })
  const ended = once(child, 'exit')
  await vi.waitFor(async () => {
    const socket = connect(port, '127.0.0.1')
    await once(socket, 'connect').finally(() => socket.destroy())
  }, 10_000)
  return {
    url: Object.assign(new URL(databaseUrl), { hostname: '127.0.0.1', port: String(port) }).href,
    async [Symbol.asyncDispose]() {
      child.kill('SIGKILL')
      await ended
      await rm(directory, { recursive: true })
    },
  }
}

/** What PgBouncer takes in a startup message. https://www.pgbouncer.org/config.html#ignore_startup_parameters */
const STARTUP_PARAMETERS = [
  ...['user', 'database', 'client_encoding', 'datestyle', 'timezone'],
  ...['standard_conforming_strings', 'application_name'],
]

/**
 * Refuses the startup parameters that PgBouncer refuses, and forgets a session after each transaction, so that nothing can
 * rely on one. https://www.postgresql.org/docs/current/protocol-message-formats.html
 */
async function startStrictPooler(databaseUrl: string): Promise<TransactionPooler> {
  const target = new URL(databaseUrl)
  const sockets = new Set<Socket>()

  const server = createServer({ noDelay: true }, (client) => {
    const database = connect({ port: Number(target.port), host: target.hostname, noDelay: true })
    for (const socket of [client, database]) sockets.add(socket.on('error', () => {}))
    client.on('close', () => database.destroy())
    database.on('close', () => client.destroy())
    let isStarted = false
    /** An answer to our own DISCARD is awaited; what the client says meanwhile waits. */
    let isForgetting = false
    let held: Buffer[] = []

    client.on('data', (chunk: Buffer) => {
      if (!isStarted) {
        isStarted = true
        const unknown = startupParameters(chunk).find((name) => !STARTUP_PARAMETERS.includes(name.toLowerCase()))
        if (unknown) return void client.end(fatal(`unsupported startup parameter: ${unknown}`))
      }
      if (isForgetting) held.push(chunk)
      else database.write(chunk)
    })
    const read = messages((type, message) => {
      if (isForgetting) {
        if (type !== 'Z') return
        isForgetting = false
        for (const chunk of held) database.write(chunk)
        held = []
        return
      }
      client.write(message)
      const isIdle = type === 'Z' && message.at(5) === 'I'.charCodeAt(0)
      if (!isIdle) return
      isForgetting = true
      database.write(frame('Q', 'DISCARD ALL\0'))
    })
    database.on('data', read)
  })
  await once(server.listen(0, '127.0.0.1'), 'listening')
  return {
    url: Object.assign(new URL(databaseUrl), { port: String((server.address() as AddressInfo).port) }).href,
    async [Symbol.asyncDispose]() {
      server.close()
      for (const socket of sockets) socket.destroy()
    },
  }
}

function startupParameters(message: Buffer): string[] {
  const words = message.subarray(8).toString('latin1').split('\0')
  return words.filter((word, index) => index % 2 === 0 && word !== '')
}

function frame(type: string, body: string): Buffer {
  const length = Buffer.alloc(4)
  length.writeInt32BE(4 + Buffer.byteLength(body))
  return Buffer.concat([Buffer.from(type), length, Buffer.from(body)])
}

function fatal(text: string): Buffer {
  return frame('E', `SFATAL\0VFATAL\0C08P01\0M${text}\0\0`)
}

/** Cuts what a server says into its messages. */
function messages(each: (type: string, message: Buffer) => void): (chunk: Buffer) => void {
  let rest = Buffer.alloc(0)
  return (chunk) => {
    rest = Buffer.concat([rest, chunk])
    while (rest.length >= 5) {
      const length = 1 + rest.readInt32BE(1)
      if (rest.length < length) return
      const message = rest.subarray(0, length)
      rest = rest.subarray(length)
      each(String.fromCharCode(message.at(0) ?? 0), message)
    }
  }
}
