const TOKEN =
  /<\?xml[^<>]*\?>|<!--.*?-->|<(?<name>[A-Za-z][\w:.-]*)(?:\s+[\w:.-]+\s*=\s*(?:"[^"<]*"|'[^'<]*'))*\s*(?<empty>\/?)>|<\/(?<closed>[\w:.-]+)\s*>|(?<text>[^<]+)|(?<stray><)/gs
const ENTITY = /&(?:(?<named>amp|lt|gt|quot|apos)|#(?<decimal>\d{1,7})|#x(?<hex>[\da-f]{1,6}));/gi
const NAMED: Record<string, string> = { amp: '&', lt: '<', gt: '>', quot: '"', apos: "'" }

/**
 * The text in a TwiML document, its tags taken for spaces. Undefined when it isn't one well-formed Response:
 * https://www.twilio.com/docs/voice/twiml
 */
export function textOfTwiml(twiml: string): string | undefined {
  const open: string[] = []
  let said = ''
  let hasRoot = false
  for (const { groups = {} } of twiml.trim().matchAll(TOKEN)) {
    const { name, empty, closed, text, stray } = groups
    if (stray) return undefined
    if (name) {
      if (open.length === 0 && (hasRoot || name !== 'Response')) return undefined
      hasRoot = true
      if (!empty) open.push(name)
    }
    if (closed && open.pop() !== closed) return undefined
    if (text?.trim() && (open.length === 0 || text.replaceAll(ENTITY, '').includes('&'))) return undefined
    said += text ?? ' '
  }
  if (!hasRoot || open.length > 0) return undefined
  return decode(said).replaceAll(/\s+/g, ' ').trim()
}

/** Where a document's Gather sends the key that is pressed: https://www.twilio.com/docs/voice/twiml/gather */
export function keysUrlOf(twiml: string): string | undefined {
  const [, , action] = /<Gather(?=\s)[^<>]*?\saction\s*=\s*(["'])(.*?)\1/s.exec(twiml) ?? []
  return action && decode(action)
}

function decode(text: string): string {
  return text.replaceAll(ENTITY, (...match) => {
    const { named, decimal, hex } = match.at(-1) as Record<string, string | undefined>
    if (named) return NAMED[named.toLowerCase()] ?? ''
    const codePoint = decimal ? Number(decimal) : Number.parseInt(hex ?? '', 16)
    return codePoint <= 0x10ffff ? String.fromCodePoint(codePoint) : '\ufffd'
  })
}
