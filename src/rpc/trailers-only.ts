import type { ServerHttp2Stream } from 'node:http2'
import type { ConnectError } from '@connectrpc/connect'
import type { UniversalServerResponse } from '@connectrpc/connect/protocol'
import { setTrailerStatus } from '@connectrpc/connect/protocol-grpc'

/**
 * Sends an answer that failed before its first message as a single block of headers that ends the stream: clients retry no
 * other failures. Returns false, and sends nothing, for any other answer.
 * https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md#responses
 */
export async function answerTrailersOnly(
  { header, body, trailer }: UniversalServerResponse,
  stream: ServerHttp2Stream,
): Promise<boolean> {
  // The status is 0 from the start. Before the first message, only a failure changes it.
  if (!trailer || trailer.get('grpc-status') === '0') return false
  // Empty, but reading it to its end completes the log line of the call.
  await Array.fromAsync(body ?? [])
  respond(stream, trailer, header?.get('content-type') ?? undefined)
  return true
}

/** Sends `error` on the stream of a request that never became a call. */
export function refuse(stream: ServerHttp2Stream, error: ConnectError): void {
  respond(stream, setTrailerStatus(new Headers(), error))
}

function respond(stream: ServerHttp2Stream, trailer: Headers, contentType = 'application/grpc'): void {
  const message = decodeURIComponent(trailer.get('grpc-message') ?? '')
  trailer.set('grpc-message', message.replace(ESCAPED, encodeURIComponent))
  stream.respond({ ':status': 200, 'content-type': contentType, ...Object.fromEntries(trailer) }, { endStream: true })
}

/** Anything but printable ASCII, and the percent sign. */
const ESCAPED = /[^ -~]+|%/g
