/** Keys of one purpose: new values are made with the current one, old values are read with the one they name. */
export interface KeyRing {
  readonly currentId: string
  /** 32 bytes each. */
  readonly byId: ReadonlyMap<string, Buffer>
}

/** Everything this service keeps secret or blind, by purpose. None of it is in the database. */
export interface Keys {
  /** HMAC of one-time codes. */
  readonly code: KeyRing
  /** Encryption of phone numbers. */
  readonly pii: KeyRing
  /** Look-up HMACs of customer ids and phone numbers, 32 bytes. Another key finds nothing of what was stored. */
  readonly index: Buffer
}

/** The current key of a ring, with its id. */
export function currentKey(ring: KeyRing): { id: string; key: Buffer } {
  return { id: ring.currentId, key: keyById(ring, ring.currentId) }
}

/** The key a stored value names. Throws when the ring no longer has it. */
export function keyById(ring: KeyRing, id: string): Buffer {
  const key = ring.byId.get(id)
  if (!key) throw new Error(`no key with id ${id}: a key must stay in its list while rows name it`)
  return key
}
