import type { IncomingMessage, ServerResponse } from 'node:http'
import { errorResource, type TwilioError } from './twilio-api.ts'

export const JSON_TYPE = 'application/json;charset=utf-8'

const MAX_BODY_BYTES = 64 * 1_024

/** The body as text, or undefined when it is over 64 KiB. Throws when the client goes away before its end. */
export async function readBody(request: IncomingMessage): Promise<string | undefined> {
  const chunks: Buffer[] = []
  let size = 0
  for await (const chunk of request) {
    size += chunk.length
    // The rest is read too: a client that is still writing would see a reset, not the answer.
    if (size <= MAX_BODY_BYTES) chunks.push(chunk)
  }
  return size <= MAX_BODY_BYTES ? Buffer.concat(chunks).toString() : undefined
}

export function answerJson(response: ServerResponse, status: number, value: unknown): void {
  response.writeHead(status, { 'Content-Type': JSON_TYPE }).end(JSON.stringify(value))
}

export function answerNothing(response: ServerResponse): void {
  response.writeHead(204).end()
}

/** Answers Twilio's error JSON; Twilio repeats the code in a header. */
export function answerError(response: ServerResponse, error: TwilioError): void {
  response.setHeader('X-Twilio-Error-Code', error.code)
  answerJson(response, error.status, errorResource(error))
}

export function answerNotAllowed(response: ServerResponse, allowed: string): void {
  response.setHeader('Allow', allowed)
  answerError(response, { status: 405, code: 20004, message: 'This method is not allowed here' })
}
