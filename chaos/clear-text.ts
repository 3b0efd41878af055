import { violate, type World } from './world.ts'

/** What may look like a code or a phone number and is none: bytes, ids, times. */
const NOISE =
  /\\+x[0-9a-f]*|[0-9a-f]{8}-[0-9a-f-]{27}|\b(?:[A-Z]{2})?[0-9a-f]{32,}\b|\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d(?:\.\d+)?|\d+\.\d+/g
const PHONE = /\d{11,}/g
const CODE = /(?<![\w.-])\d{6}(?![\w.-])/g

/** Looks for this run's phone numbers and codes in every row of every table. */
export async function checkTables(world: World): Promise<void> {
  const tables = await world.query(
    `SELECT table_name AS name, EXISTS (SELECT FROM information_schema.columns
       WHERE columns.table_name = tables.table_name AND column_name = 'signature_id') AS of_signature
     FROM information_schema.tables WHERE table_schema = 'public'`,
  )
  const codes = codesByChallenge(world)
  const signatureOf = new Map<string, string>()
  for (const { id, signature_id } of await world.query('SELECT id, signature_id FROM challenge')) {
    signatureOf.set(String(id), String(signature_id))
  }
  const bySignature = new Map<string, Set<string>>()
  for (const [challenge, own] of codes) {
    const signature = signatureOf.get(challenge) ?? ''
    bySignature.set(signature, new Set([...(bySignature.get(signature) ?? []), ...own]))
  }
  const phones = new Set([...world.vendor.phones()].map((phone) => phone.slice(1)))
  for (const { name } of tables) {
    for (const { text } of await world.query(`SELECT t::text AS text FROM "${name}" t`)) {
      const row = String(text)
      const own = idsIn(row).flatMap((id) => [...(bySignature.get(id) ?? []), ...(codes.get(id) ?? [])])
      const clear = row.replace(NOISE, '')
      const found = [
        ...digitsIn(clear, PHONE).filter((digits) => phones.has(digits)),
        ...digitsIn(clear, CODE).filter((digits) => own.includes(digits)),
      ]
      if (found.length > 0) violate(world, 'nothing in clear in the database', `${found} in ${name}: ${row}`)
    }
  }
}

/** Looks at each line that a replica logs, as it comes. A code counts where its challenge or signature is named. */
export function checkLine(world: World, line: string, replica: string): void {
  const isPhone = digitsIn(line, PHONE).some((digits) => world.vendor.phones().has(`+${digits}`))
  const tokens = digitsIn(line.replace(NOISE, ''), CODE)
  const ids = idsIn(line)
  const isCode =
    tokens.length > 0 &&
    world.vendor.allCalls().some(({ code, challengeId }) => tokens.includes(code) && ids.includes(challengeId))
  if (isPhone || isCode) violate(world, 'nothing in clear in the log', `${replica}: ${line}`)
}

function idsIn(text: string): string[] {
  return text.match(/[0-9a-f]{8}-[0-9a-f-]{27}/g) ?? []
}

function digitsIn(text: string, pattern: RegExp): string[] {
  return text.match(pattern) ?? []
}

function codesByChallenge(world: World): Map<string, string[]> {
  const codes = new Map<string, string[]>()
  for (const { challengeId, code } of world.vendor.allCalls()) {
    codes.set(challengeId, [...(codes.get(challengeId) ?? []), code])
  }
  return codes
}
