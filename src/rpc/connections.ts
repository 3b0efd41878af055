import http2 from 'node:http2'
import type { Socket } from 'node:net'
import { createSeats } from '../net/seats.ts'

export interface ConnectionLimits {
  /** The most connections. One more replaces the connection that has been idle longest. */
  most: number
  /** A connection without a stream is ended after this time. */
  idleMs: number
  /** A connection is ended at about this age, so that its client chooses a server again. */
  ageMs: number
  /** Streams on a connection that is being ended may go on for this time. */
  graceMs: number
}

/** The connections of an HTTP/2 server. */
export interface Connections {
  /** Refuses new streams. Each connection closes with its last stream. */
  close(): void
  /** Closes every connection at once. */
  destroy(): void
}

/** A new connection has this time to send its HTTP/2 preface. */
const PREFACE_MS = 10_000
/** A connection that has to make room has this time to end its streams. */
const GOODBYE_MS = 2_000
/** Longer than a round trip to any client. */
const ROUND_TRIP_MS = 1_000
/** Connections that may be ending, beyond the most that may be open. */
const LEAVING = 200
const MAX_STREAM_ID = 2 ** 31 - 1

/** Keeps the connections of `server` within limits, without losing a request that is on its way. */
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
    // Requests that the client sent before it read the GOAWAY are served: they precede its answer to the ping
    // (RFC 9113, section 6.8).
    session.goaway(http2.constants.NGHTTP2_NO_ERROR, MAX_STREAM_ID)
    const close = () => session.destroyed || session.close()
    session.ping(close)
    // An idle Node client stops reading after a GOAWAY and answers no ping.
    after(ROUND_TRIP_MS, session, close)
  }
  function destroy(session: http2.ServerHttp2Session): void {
    const socket = open.get(session)
    session.destroy()
    // Destroying a session that is already closing does not close its socket.
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
    // Spread by 10 %, so that connections opened together do not end together.
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

/** Calls `work` after `ms`, unless the session has closed by then. */
function after(ms: number, session: http2.ServerHttp2Session, work: () => void): NodeJS.Timeout {
  const timer = setTimeout(work, ms)
  session.once('close', () => clearTimeout(timer))
  return timer
}
