import type { ServerHttp2Stream } from 'node:http2'
import type { ConnectError } from '@connectrpc/connect'
import type { UniversalServerResponse } from '@connectrpc/connect/protocol'
import { setTrailerStatus } from '@connectrpc/connect/protocol-grpc'

/**
 * Answers a call that failed before its first message with one block of headers that ends the stream, as clients retry no
 * other failure. Returns false, having done nothing, for any other answer.
 * https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md#responses
 */
export async function answerTrailersOnly(
  { header, body, trailer }: UniversalServerResponse,
  stream: ServerHttp2Stream,
): Promise<boolean> {
  // Set from the start, and before the first message changed by nothing but a failure.
  if (!trailer || trailer.get('grpc-status') === '0') return false
  // There is none left. Reading it tells who observes the call that it is over.
  await Array.fromAsync(body ?? [])
  respond(stream, trailer, header?.get('content-type') ?? undefined)
  return true
}

/** Refuses a call that has not begun. */
export function refuse(stream: ServerHttp2Stream, error: ConnectError): void {
  respond(stream, setTrailerStatus(new Headers(), error))
}

function respond(stream: ServerHttp2Stream, trailer: Headers, contentType = 'application/grpc'): void {
  const message = decodeURIComponent(trailer.get('grpc-message') ?? '')
  trailer.set('grpc-message', message.replace(ESCAPED, encodeURIComponent))
  stream.respond({ ':status': 200, 'content-type': contentType, ...Object.fromEntries(trailer) }, { endStream: true })
}

/** What is not printable ASCII, and the percent sign itself. */
const ESCAPED = /[^ -~]+|%/g
