import { validate as isUuid } from 'uuid'
import type { Sealed } from '../domain/sealed.ts'
import { parseSpokenCode } from '../domain/spoken-code.ts'

/** The URL of a webhook, for the receipts of one call, or for its code: `spokenCode` is the sealed one. */
export type WebhookUrl = (path: string, call: { challengeId: string; attempt: number; spokenCode?: string }) => string

/** Makes the function that writes the URLs given to vendors. `publicUrl` is where they reach our webhooks, without path. */
export function webhookUrls(publicUrl: string): WebhookUrl {
  return (path, { challengeId, attempt, spokenCode }) =>
    `${publicUrl}${path}?challenge=${challengeId}&attempt=${attempt}${spokenCode ? `&code=${spokenCode}` : ''}`
}

/** Returns the call in the path and query of a request, or undefined unless they are as {@link webhookUrls} makes them. */
export function callIn(
  target: string,
): { challengeId: string; attempt: number; spokenCode?: Sealed | undefined } | undefined {
  const [, challengeId = '', attempt = '', code = ''] =
    /\?challenge=([0-9a-f-]{36})&attempt=([1-9][0-9]{0,2})(?:&code=([\w.-]+))?$/.exec(target) ?? []
  return isUuid(challengeId) ? { challengeId, attempt: Number(attempt), spokenCode: parseSpokenCode(code) } : undefined
}
