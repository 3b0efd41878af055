import { createHash, timingSafeEqual } from 'node:crypto'
import type { IncomingMessage, ServerResponse } from 'node:http'

/** An answer whose body is JSON. */
export interface Answer {
  status: number
  type: string
  headers?: Record<string, string>
  body: unknown
}

const MAX_BODY_BYTES = 64 * 1_024

/** Returns the body as text, or undefined if it is over 64 KiB. Throws if the client goes away before its end. */
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

/** The form or the JSON in a body, by its content type. */
export function parseBody(text: string, contentType = ''): { form: URLSearchParams; json: unknown } {
  const type = contentType.split(';', 1)[0]?.trim().toLowerCase()
  return {
    form: new URLSearchParams(type === 'application/x-www-form-urlencoded' ? text : ''),
    json: type === 'application/json' ? parseJson(text) : undefined,
  }
}

export function parseJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

export function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

export function send(response: ServerResponse, { status, type, headers = {}, body }: Answer): void {
  response.writeHead(status, { 'Content-Type': type, ...headers }).end(JSON.stringify(body))
}

/** True if an Authorization header holds these Basic credentials. */
export function isBasic(authorization: string, user: string, password: string): boolean {
  const credentials = Buffer.from(/^Basic +(\S+)$/i.exec(authorization)?.[1] ?? '', 'base64')
  return timingSafeEqual(sha256(credentials), sha256(`${user}:${password}`))
}

function sha256(data: string | Buffer): Buffer {
  return createHash('sha256').update(data).digest()
}
