import http2 from 'node:http2'
import type { Socket } from 'node:net'
import { createSeats } from '../net/seats.ts'

export interface ConnectionLimits {
  /** One more than that takes the place of the one that has been idle longest. */
  most: number
  /** Without a stream for so long, a connection is ended. */
  idleMs: number
  /** About so long after it began a connection is ended, so that its client looks for a server anew. */
  ageMs: number
  /** Streams on a connection that is ended may go on for so long. */
  graceMs: number
}

/** The connections of an HTTP/2 server. */
export interface Connections {
  /** Takes no more streams. Connections close with their last one. */
  close(): void
  destroy(): void
}

/** A new connection has this long to say that it speaks HTTP/2. */
const PREFACE_MS = 10_000
/** One that has to make room has this long to say goodbye. */
const GOODBYE_MS = 2_000
/** More than a request and its answer are on their way. */
const ROUND_TRIP_MS = 1_000
/** Connections that are saying goodbye, besides those that may be there. */
const LEAVING = 200
const MAX_STREAM_ID = 2 ** 31 - 1

/** Keeps a server's connections within limits, without losing a request that is on its way. */
export function limitConnections(
  server: http2.Http2Server,
  { most, idleMs, ageMs, graceMs }: ConnectionLimits,
): Connections {
  const open = new Map<http2.ServerHttp2Session, Socket>()
  const seats = createSeats<http2.ServerHttp2Session>(most, (session) => retire(session, GOODBYE_MS))
  server.maxConnections = most + LEAVING

  function retire(session: http2.ServerHttp2Session, withinMs: number): void {
    if (session.destroyed) return
    after(withinMs, session, () => destroy(session))
    if (session.closed) return
    // What a client sent before it hears of this is served: its answer to the ping comes after that (RFC 9113, section 6.8).
    session.goaway(http2.constants.NGHTTP2_NO_ERROR, MAX_STREAM_ID)
    const close = () => session.destroyed || session.close()
    session.ping(close)
    // Node's own client, when it is idle, reads no more after a GOAWAY.
    after(ROUND_TRIP_MS, session, close)
  }
  function destroy(session: http2.ServerHttp2Session): void {
    const socket = open.get(session)
    session.destroy()
    // A session that is closing no longer lets go of its socket when it is destroyed.
    socket?.destroy()
  }

  let arriving: Socket | undefined
  server.prependListener('connection', (socket: Socket) => {
    arriving = socket
  })
  server.on('session', (session) => {
    if (arriving) open.set(session, arriving)
    const silent = after(PREFACE_MS, session, () => destroy(session))
    session.once('remoteSettings', () => clearTimeout(silent))
    session.on('error', () => destroy(session))

    let streams = 0
    const waitForStreams = () => setTimeout(() => retire(session, graceMs), idleMs)
    let idle = waitForStreams()
    session.on('stream', (stream) => {
      streams += 1
      clearTimeout(idle)
      seats.work(session)
      stream.once('close', () => {
        streams -= 1
        seats.rest(session)
        if (streams === 0 && !session.destroyed) idle = waitForStreams()
      })
    })
    session.on('close', () => {
      clearTimeout(idle)
      open.delete(session)
      seats.leave(session)
    })
    // Not all at once after a start.
    after(ageMs * (0.9 + 0.2 * Math.random()), session, () => retire(session, graceMs))
    seats.take(session)
  })

  return {
    close() {
      for (const session of open.keys()) session.close()
    },
    destroy() {
      for (const session of open.keys()) destroy(session)
    },
  }
}

/** Does something after a while, unless the session has closed by then. */
function after(ms: number, session: http2.ServerHttp2Session, work: () => void): NodeJS.Timeout {
  const timer = setTimeout(work, ms)
  session.once('close', () => clearTimeout(timer))
  return timer
}
