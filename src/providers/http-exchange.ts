import { createHash } from 'node:crypto'
import { ProviderError } from './provider.ts'

/** A whole answer, read to its end. */
export interface HttpAnswer {
  status: number
  headers: Record<string, string>
  body: string
  /** Hex. */
  bodySha256: string
}

const MAX_BODY_BYTES = 64 * 1024

/**
 * Makes one HTTP call for a provider: no redirects, at most 64 KiB of answer, over when the signal says so, however the
 * answer trickles in. Throws {@link ProviderError} when there is no whole answer.
 */
export async function exchange(
  provider: string,
  url: string,
  init: { method: string; headers: Record<string, string>; body?: string },
  signal: AbortSignal,
): Promise<HttpAnswer> {
  let accepted = false
  try {
    const response = await fetch(url, { ...init, redirect: 'manual', signal })
    accepted = response.ok
    const bytes = await readCapped(response)
    if (accepted && !bytes) throw new ProviderError(provider, 'BODY_TOO_LARGE', 'unproven')
    const body = bytes ?? Buffer.alloc(0)
    return {
      status: response.status,
      headers: Object.fromEntries(response.headers),
      body: body.toString('utf8'),
      bodySha256: createHash('sha256').update(body).digest('hex'),
    }
  } catch (error) {
    if (error instanceof ProviderError) throw error
    const code = signal.aborted ? abortCode(signal) : systemCode(error)
    // The status line said yes, so the message is on its way, whatever became of the rest.
    if (accepted) throw new ProviderError(provider, code, 'unproven')
    throw new ProviderError(provider, code, NOTHING_WRITTEN.test(code) ? 'transient' : 'unknown')
  }
}

/** What an answer that isn't a 2xx means when the provider's own code says nothing about it. */
export function refusal(provider: string, { status, headers }: HttpAnswer, providerErrorCode?: string): ProviderError {
  const code = providerErrorCode ?? `HTTP_${status}`
  if (status === 429) return new ProviderError(provider, code, 'transient', retryAfterMs(headers['retry-after']))
  return new ProviderError(provider, code, status >= 500 ? 'transient' : 'ours')
}

/** Failures from before the first byte of a request: no connection, no address, no trust in the certificate. */
const NOTHING_WRITTEN =
  /^(ECONNREFUSED|ENOTFOUND|EAI_AGAIN|EHOSTUNREACH|ENETUNREACH|EADDRNOTAVAIL|UND_ERR_CONNECT_TIMEOUT|EPROTO|ERR_TLS_\w+|ERR_SSL_.+|CERT_\w+|SELF_SIGNED_\w+|DEPTH_ZERO_\w+|UNABLE_TO_\w+)$/

async function readCapped(response: Response): Promise<Buffer | undefined> {
  const chunks: Uint8Array[] = []
  let size = 0
  for await (const chunk of response.body ?? []) {
    size += chunk.length
    // Leaving the loop cancels the body and with it the connection.
    if (size > MAX_BODY_BYTES) return undefined
    chunks.push(chunk)
  }
  return Buffer.concat(chunks)
}

function abortCode(signal: AbortSignal): string {
  return signal.reason instanceof DOMException && signal.reason.name === 'TimeoutError' ? 'TIMEOUT' : 'ABORTED'
}

/** fetch hides the system's error in the cause of its own. */
function systemCode(error: unknown): string {
  const cause = error instanceof Error && error.cause !== undefined ? error.cause : error
  return cause instanceof Error && 'code' in cause && typeof cause.code === 'string' ? cause.code : 'CONNECTION_FAILED'
}

/** RFC 9110, section 10.2.3: seconds, or a date. */
function retryAfterMs(value: string | undefined): number | undefined {
  if (value === undefined) return undefined
  const ms = /^\d+$/.test(value) ? Number(value) * 1_000 : Date.parse(value) - Date.now()
  return Number.isNaN(ms) ? undefined : Math.max(0, ms)
}
