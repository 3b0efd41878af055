import { createHash } from 'node:crypto'
import type { SimulatedMessage } from '../dialect.ts'
import { type Html, html } from './html.ts'
import { shown } from './phone-message.ts'

const MAX_NAME_CHARACTERS = 24

/** The same request as the one that the service prints when it starts. */
const FIRST_MESSAGE = `npx buf curl --protocol grpc --http2-prior-knowledge \\
  -d '${JSON.stringify({
    idempotency_key: 'order-1',
    customer_id: 'customer-1',
    phone_number: '+34600111222',
    transaction: {
      amount: { currency_code: 'EUR', units: 125, nanos: 500_000_000 },
      payee_name: 'ACME Ltd',
      payee_account: 'ES9121000418450200051332',
    },
  })}' \\
  http://127.0.0.1:50051/bank.signature.v1.SignatureService/StartSignature`

/** The whole page. `messages` are newest first; `position` is where its changes are followed from. */
export function renderPage(messages: readonly SimulatedMessage[], position: string): string {
  const page = html`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>Phones · Signature Router sandbox</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="/phone.css">
<script type="module" src="/phone.js"></script>
</head>
<body data-position="${position}">
<header>
<h1>Phones</h1>
<p>What the sandbox was given to send. Nothing leaves this machine.</p>
<p id="connection" role="status"></p>
<noscript><p>Without JavaScript this page stays as it was loaded: reload it for what is new.</p></noscript>
</header>
<main>
<div id="phones">${{ html: renderPhones(messages) }}</div>
<section id="empty" aria-labelledby="empty-heading">
<h2 id="empty-heading">No messages yet</h2>
<p>Messages show up here as soon as the service sends them. To send a first one, with the service on its usual port:</p>
<pre tabindex="0" role="region" aria-label="Command that starts a signature"><code>${FIRST_MESSAGE}</code></pre>
</section>
<div id="news" role="log" aria-label="News" class="unseen"></div>
</main>
</body>
</html>
`
  return page.html
}

/** A section for each recipient: the one whose first message is newest comes first, so that none moves when one more does. */
export function renderPhones(messages: readonly SimulatedMessage[]): string {
  const phones = Map.groupBy(messages.toReversed(), ({ to }) => to)
  return [...phones]
    .reverse()
    .map(([to, list]) => renderPhone(to, list.reverse()).html)
    .join('')
}

function renderPhone(to: string, messages: SimulatedMessage[]): Html {
  const id = `phone-${createHash('sha256').update(to).digest('hex').slice(0, 16)}`
  return html`<section id="${id}" class="phone" aria-labelledby="${id}-name">
<h2 id="${id}-name"><bdi title="${to}">${nameOf(to)}</bdi></h2>
<ol role="list" reversed>${messages.map(renderMessage)}</ol>
</section>`
}

function renderMessage(message: SimulatedMessage): Html {
  const { provider, to, from, status, created_at } = message
  const { kind, text, code, tone } = shown(message)
  const time = html`<time datetime="${created_at}">${created_at.slice(0, 19).replace('T', ' ')} UTC</time>`
  // The script shows it: without one there is nothing that copies.
  const copy = html`<button type="button" data-does="copy" hidden>Copy code<span class="unseen"> from ${kind} to <bdi>${nameOf(to)}</bdi>, ${time}</span></button>`
  const press = html`<button type="button" data-does="press" data-sid="${message.sid}" hidden>Press 1<span class="unseen"> in ${kind} to <bdi>${nameOf(to)}</bdi>, ${time}</span></button>`
  const action = message.awaits_key ? press : code ? copy : ''
  return html`<li id="message-${message.sid}">
<p class="about"><span><span class="kind">${kind}</span> from <bdi>${from}</bdi></span> ${time}</p>
<p class="text" dir="auto">${text ? marked(text, code) : html`<em>Nothing to read or hear</em>`}</p>
<p class="fate"><span><span class="provider">${provider}</span> <span class="status ${tone}"><span class="unseen">Status: </span>${status}</span></span> <span class="action">${action}</span></p>
</li>`
}

function marked(text: string, code: string | undefined): Html {
  if (!code) return html`${text}`
  const [first = '', ...rest] = text.split(new RegExp(`(?<!\\d)${code}(?!\\d)`))
  return html`${first}${rest.map((part) => html`<strong class="code">${code}</strong>${part}`)}`
}

/** A registration token may be too long to read; its whole is the title. */
function nameOf(to: string): string {
  const name = to.length > MAX_NAME_CHARACTERS ? `${to.slice(0, 10)}…${to.slice(-10)}` : to
  return /^[+/]/.test(to) ? name : `Device ${name}`
}
