import { readFileSync } from 'node:fs'
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { SimulatedMessage } from '../dialect.ts'
import { send } from '../http.ts'
import { createPhoneEvents } from './phone-events.ts'
import { renderPage } from './phone-page.ts'

/** The page that shows the messages as their recipients see them. */
export interface Phone {
  /** Answers a request for the page or what belongs to it; false when it is for something else. */
  serve(request: IncomingMessage, response: ServerResponse): boolean
  /** Shows what is there now, when messages went. */
  refresh(): void
}

interface Resource {
  type: string
  body(): string
}

const ALLOWED = 'GET, HEAD'
const RETRY_SECONDS = '5'
const HEADERS = {
  'Cache-Control': 'no-store',
  'Content-Security-Policy': [
    "default-src 'none'",
    "script-src 'self'",
    "style-src 'self'",
    "connect-src 'self'",
    'img-src data:',
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
  ].join('; '),
  'Cross-Origin-Resource-Policy': 'same-origin',
  'Referrer-Policy': 'no-referrer',
  'X-Content-Type-Options': 'nosniff',
}

/** A phone that shows `messages`, newest first, and follows them by `onMessage`. */
export function createPhone(
  messages: readonly SimulatedMessage[],
  onMessage: (listener: (message: SimulatedMessage) => void) => unknown,
): Phone {
  const events = createPhoneEvents()
  onMessage((message) => {
    // The status of one that was deleted may still change.
    if (messages.some(({ sid }) => sid === message.sid)) events.tell(message)
  })
  const [script, style] = ['phone.js', 'phone.css'].map((name) =>
    readFileSync(`${import.meta.dirname}/${name}`, 'utf8'),
  )
  const resources: Record<string, Resource> = {
    '/': { type: 'text/html; charset=utf-8', body: () => renderPage(messages, events.position) },
    '/phone.js': { type: 'text/javascript; charset=utf-8', body: () => script ?? '' },
    '/phone.css': { type: 'text/css; charset=utf-8', body: () => style ?? '' },
  }

  function follow(request: IncomingMessage, response: ServerResponse, query: URLSearchParams): void {
    if (request.method === 'HEAD') return void response.writeHead(200, { 'Content-Type': 'text/event-stream' }).end()
    // A client that comes back by itself says where it was in the header, and asks for the same address as at first.
    const since = request.headers['last-event-id'] ?? query.get('since') ?? ''
    if (!events.open(response, String(since)))
      refuse(response, 503, 'too many pages are open', 'Retry-After', RETRY_SECONDS)
  }

  return {
    serve(request, response) {
      const { method = '' } = request
      const [path = '', query] = (request.url ?? '').split('?', 2)
      const resource = Object.hasOwn(resources, path) ? resources[path] : undefined
      if (!resource && path !== '/events') return false
      response.setHeaders(new Map(Object.entries(HEADERS)))
      if (method !== 'GET' && method !== 'HEAD') refuse(response, 405, `${path} takes ${ALLOWED}`, 'Allow', ALLOWED)
      else if (!resource) follow(request, response, new URLSearchParams(query))
      else response.writeHead(200, { 'Content-Type': resource.type }).end(resource.body())
      return true
    },
    refresh: events.tellAll,
  }
}

function refuse(response: ServerResponse, status: number, problem: string, header: string, value: string): void {
  const type = 'application/json;charset=utf-8'
  send(response, { status, type, headers: { [header]: value }, body: { problems: [problem] } })
}
