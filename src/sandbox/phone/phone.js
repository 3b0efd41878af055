// Adds what is new and changes what has changed: the server has rendered everything already, here and in each event.
const MAX_MESSAGES = 1_000
const MAX_NEWS = 5
const RETRY_MS = 5_000
const COPIED_MS = 2_000

const phones = document.getElementById('phones')
const connection = document.getElementById('connection')
const news = document.getElementById('news')
let position = document.body.dataset.position
let work = Promise.resolve()

prepare(document)
phones.addEventListener('click', ({ target }) => {
  const button = target.closest('button')
  if (button) button.dataset.does === 'press' ? press(button) : copy(button)
})
connect()

function connect(since = position) {
  const source = new EventSource(`/events?since=${since}`)
  const startOver = (from) => {
    source.close()
    setTimeout(connect, RETRY_MS, from)
  }
  source.addEventListener('open', () => show('Live', true))
  source.addEventListener('error', () => {
    show('Connection lost, trying again …', false)
    // Closed when the server refused; otherwise the browser tries again by itself.
    if (source.readyState === EventSource.CLOSED) startOver()
  })
  source.addEventListener('message', ({ data, lastEventId }) => {
    inTurn(lastEventId, () => merge(JSON.parse(data), false))
  })
  source.addEventListener('sync', ({ lastEventId }) => {
    inTurn(lastEventId, async () => merge(await loadPage(), true)).catch(() => startOver(''))
  })
}

async function loadPage() {
  const response = await fetch('/')
  if (!response.ok) throw new Error(`the page answers ${response.status}`)
  return response.text()
}

/** What came later than a look at the page must be merged later too. */
function inTurn(eventId, step) {
  const done = work.then(step).then(() => {
    position = eventId
  })
  work = done.catch(() => {})
  return done
}

/** Takes over the phones in a piece of the page; from a whole page also what is missing in it. */
function merge(html, isWhole) {
  const fresh = new DOMParser().parseFromString(html, 'text/html')
  const changes = []
  // From the oldest on, as each is put before the others.
  for (const item of [...fresh.querySelectorAll('.phone li')].reverse()) {
    const known = document.getElementById(item.id)
    const change = known ? update(known, item) : add(item)
    if (change) changes.push(change)
  }
  for (const known of isWhole ? phones.querySelectorAll('li') : []) {
    if (!fresh.getElementById(known.id)) remove(known)
  }
  forgetOldest()
  announce(changes.length > MAX_NEWS ? [`${changes.length} messages are new or have changed`] : changes)
}

function add(fresh) {
  const section = fresh.closest('.phone')
  if (!document.getElementById(section.id)) {
    const phone = document.importNode(section, true)
    phone.querySelector('ol').replaceChildren()
    phones.prepend(phone)
  }
  const item = document.importNode(fresh, true)
  item.classList.add('new')
  document.getElementById(section.id).querySelector('ol').prepend(item)
  prepare(item)
  return `${label(item)}: ${item.querySelector('.text').textContent}`
}

function update(known, fresh) {
  const hasNewText = replace('.text', (part) => part.innerHTML)
  const hasNewStatus = replace('.status', (part) => part.outerHTML)
  replace('.action', (part) => part.querySelector('button')?.dataset.does)
  const at = `${label(known)}, ${timeIn(known).textContent}`
  if (hasNewText) return `${at}: ${known.querySelector('.text').textContent}`
  return hasNewStatus ? `${at}: ${known.querySelector('.status').lastChild.textContent}` : undefined

  /** What has stayed the same keeps the focus. */
  function replace(selector, seenIn) {
    const [before, after] = [known, fresh].map((item) => item.querySelector(selector))
    if (seenIn(before) === seenIn(after)) return false
    const part = document.importNode(after, true)
    before.replaceWith(part)
    prepare(part)
    return true
  }
}

function remove(item) {
  const section = item.closest('.phone')
  item.remove()
  if (!section.querySelector('li')) section.remove()
}

/** As the server does. */
function forgetOldest() {
  const items = [...phones.querySelectorAll('li')]
  if (items.length <= MAX_MESSAGES) return
  items.sort((one, other) => timeIn(other).dateTime.localeCompare(timeIn(one).dateTime))
  items.slice(MAX_MESSAGES).forEach(remove)
}

/** Shows what needs a script, and times as the clock on the wall. */
function prepare(root) {
  for (const button of root.querySelectorAll('button')) button.hidden = false
  for (const time of root.querySelectorAll('time')) {
    const at = new Date(time.dateTime)
    const isToday = at.toDateString() === new Date().toDateString()
    time.textContent = isToday ? at.toLocaleTimeString() : at.toLocaleString()
  }
}

async function press(button) {
  const path = `/messages/${button.dataset.sid}/keys`
  const isHeard = await fetch(path, { method: 'POST', body: '{"key":"1"}' }).then(
    ({ ok }) => ok,
    () => false,
  )
  if (!isHeard) announce(['This call waits for no key any more'])
}

async function copy(button) {
  const shown = button.closest('li').querySelector('.code')
  const code = shown.textContent.replaceAll(' ', '')
  const isCopied = await writeClipboard(code).catch(() => copySelected(shown, code))
  announce([isCopied ? 'Code copied' : 'The code is selected, but this browser lets no page copy it'])
  if (!isCopied) return
  const name = button.firstChild
  name.textContent = 'Copied'
  setTimeout(() => {
    name.textContent = 'Copy code'
  }, COPIED_MS)
}

/** Throws where the page comes neither from this machine nor over TLS. */
async function writeClipboard(text) {
  await navigator.clipboard.writeText(text)
  return true
}

function copySelected(shown, code) {
  getSelection().selectAllChildren(shown)
  const fill = (event) => {
    event.clipboardData.setData('text/plain', code)
    event.preventDefault()
  }
  document.addEventListener('copy', fill)
  const isCopied = document.execCommand('copy')
  document.removeEventListener('copy', fill)
  return isCopied
}

function announce(lines) {
  for (const line of lines) {
    const entry = document.createElement('p')
    entry.textContent = line
    news.append(entry)
  }
  while (news.children.length > MAX_NEWS) news.firstChild.remove()
}

function show(text, isLive) {
  connection.textContent = text
  connection.classList.toggle('lost', !isLive)
}

function label(item) {
  return `${item.querySelector('.kind').textContent} to ${item.closest('.phone').querySelector('h2').textContent}`
}

function timeIn(item) {
  return item.querySelector('time')
}
