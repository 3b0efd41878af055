import { once } from 'node:events'
import { type AddressInfo, createServer, type Server, type Socket, connect as tcpConnect } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'

/** Waits for something that a client says, once, and then holds its connection: nothing passes on it any more. */
export interface Trap {
  /** `said` is what came just now, `since` all of the exchange so far, with it. */
  sees(said: string, since: string): boolean
  /** Holds what was said, or passes it on and holds the answer. */
  holds: 'request' | 'answer'
  /** `reset` ends the connection. */
  fire(reset: () => void): void
}

/** A network that can fail. Disposing cuts every connection. */
export interface Wire extends AsyncDisposable {
  readonly port: number
  /** Where new connections go. */
  target: number
  /** What every chunk waits, each way. */
  latencyMs: number
  /** Swallows what is said on every connection, open or new, and resets none. Those stay dead when it ends. */
  silent: boolean
  readonly traps: Set<Trap>
  /** Connections that traps or silence have left dead. */
  readonly dead: Set<Socket>
  /** Resets every connection. */
  cut(): void
  /** Resets every connection and lets nobody connect until `accept`. */
  refuse(): Promise<void>
  accept(): Promise<void>
}

const KEPT_CHARACTERS = 100_000

/** Stands between a client and the port `target` of this machine. `begins` tells where an exchange begins. */
export async function startWire(target: number, begins: (said: string) => boolean = () => true): Promise<Wire> {
  const sockets = new Set<Socket>()
  const dead = new Set<Socket>()
  let server: Server | undefined

  async function listen(port: number): Promise<number> {
    server = createServer({ noDelay: true }, carry).listen(port, '127.0.0.1')
    await once(server, 'listening')
    return (server.address() as AddressInfo).port
  }

  function carry(near: Socket): void {
    const far = tcpConnect({ port: wire.target, host: '127.0.0.1', noDelay: true })
    let isHeld = false
    let waiting: Trap | undefined
    let since = ''
    const hold = (trap: Trap) => {
      isHeld = true
      for (const socket of [near, far]) dead.add(socket)
      trap.fire(() => near.resetAndDestroy())
    }
    const isDeaf = () => {
      isHeld ||= wire.silent
      if (isHeld) for (const socket of [near, far]) dead.add(socket)
      return isHeld
    }
    const up = slowly(() => wire.latencyMs, far)
    const down = slowly(() => wire.latencyMs, near)

    near.on('data', (chunk: Buffer) => {
      if (isDeaf()) return
      const said = chunk.toString('latin1')
      since = begins(said) ? said : (since + said).slice(-KEPT_CHARACTERS)
      for (const trap of wire.traps) {
        if (!trap.sees(said, since)) continue
        wire.traps.delete(trap)
        if (trap.holds === 'request') return hold(trap)
        waiting = trap
      }
      up(chunk)
    })
    far.on('data', (chunk: Buffer) => {
      if (isDeaf()) return
      if (waiting) return hold(waiting)
      down(chunk)
    })
    for (const [socket, other] of [
      [near, far],
      [far, near],
    ] as const) {
      sockets.add(socket)
      socket.on('error', () => {})
      socket.on('close', (hadError) => {
        sockets.delete(socket)
        dead.delete(socket)
        // Silence swallows goodbyes too; the client's own end is what frees the server's.
        if (isHeld && socket === far) return
        if (hadError || isHeld) other.resetAndDestroy()
        else other.end()
      })
    }
  }

  const wire: Wire = {
    port: 0,
    target,
    latencyMs: 0,
    silent: false,
    traps: new Set(),
    dead,
    cut() {
      for (const socket of sockets) socket.resetAndDestroy()
    },
    async refuse() {
      const closing = server
      server = undefined
      if (closing?.listening) {
        closing.close()
        wire.cut()
        await once(closing, 'close')
      }
    },
    async accept() {
      if (!server) await listen(wire.port)
    },
    [Symbol.asyncDispose]: () => wire.refuse(),
  }
  return Object.assign(wire, { port: await listen(0) })
}

/** Writes each chunk after the latency of its time, in order. */
function slowly(latencyMs: () => number, to: Socket): (chunk: Buffer) => void {
  let queue: Promise<void> | undefined
  return (chunk) => {
    const waitMs = latencyMs()
    if (waitMs === 0 && !queue) return void to.write(chunk)
    const mine = Promise.all([queue, sleep(waitMs)]).then(() => {
      if (!to.destroyed) to.write(chunk)
      if (queue === mine) queue = undefined
    })
    queue = mine
  }
}
