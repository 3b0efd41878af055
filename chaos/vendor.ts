import type { Sandbox, SimulatedCall } from '../src/sandbox/sandbox.ts'

/** A call as the vendor got it. */
export interface VendorCall {
  phone: string
  challengeId: string
  attempt: number
  code: string
}

/** What the vendor saw of each phone; the sandbox itself forgets. */
export interface VendorNotes {
  /** The codes that a phone shows, oldest first. */
  codes(phone: string): string[]
  calls(phone: string): VendorCall[]
  allCalls(): VendorCall[]
  phones(): { has(phone: string): boolean } & Iterable<string>
}

/** Takes down from now on what the sandbox sees. */
export function noteVendor(sandbox: Sandbox): VendorNotes {
  const codes = new Map<string, string[]>()
  const calls = new Map<string, VendorCall[]>()
  const all: VendorCall[] = []
  const seen = new Set<string>()
  const known = new WeakSet<SimulatedCall>()
  sandbox.onMessage(({ sid, to, body }) => {
    if (seen.has(sid)) return
    seen.add(sid)
    push(codes, to, codeOf(body))
  })

  function catchUp(): void {
    for (let at = sandbox.calls.length - 1; at >= 0; at--) {
      const call = sandbox.calls[at]
      if (!call || known.has(call)) break
      known.add(call)
      const noted = toVendorCall(call)
      push(calls, noted.phone, noted)
      all.push(noted)
    }
  }
  // Well before the sandbox forgets any.
  setInterval(catchUp, 50).unref()

  return {
    codes: (phone) => codes.get(phone) ?? [],
    calls(phone) {
      catchUp()
      return calls.get(phone) ?? []
    },
    allCalls() {
      catchUp()
      return all
    },
    phones: () => Object.assign(calls.keys(), { has: (phone: string) => calls.has(phone) }),
  }
}

function toVendorCall({ form }: SimulatedCall): VendorCall {
  const asked = new URL(form.get('StatusCallback') ?? 'http://nowhere').searchParams
  return {
    phone: form.get('To') ?? '',
    challengeId: asked.get('challenge') ?? '',
    attempt: Number(asked.get('attempt')),
    code: codeOf(form.get('Body') ?? ''),
  }
}

function codeOf(body: string): string {
  return /\b[0-9]{6}\b/.exec(body)?.[0] ?? ''
}

function push<T>(map: Map<string, T[]>, key: string, value: T): void {
  const list = map.get(key)
  if (list) list.push(value)
  else map.set(key, [value])
}
