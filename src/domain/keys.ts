import { createHmac } from 'node:crypto'

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

/** Returns the current key of a ring, with its id. */
export function currentKey(ring: KeyRing): { id: string; key: Buffer } {
  return { id: ring.currentId, key: keyById(ring, ring.currentId) }
}

/** Returns the key that a stored value names. Throws if the ring no longer has it. */
export function keyById(ring: KeyRing, id: string): Buffer {
  const key = ring.byId.get(id)
  if (!key) throw new Error(`no key with id ${id}: a key must stay in its list while rows name it`)
  return key
}

/** Shows whether two replicas have the same key under an id, and nothing of the key itself. */
export interface KeyCheck {
  /** The setting that the key is from. */
  readonly purpose: KeyPurpose
  /** Empty for INDEX_KEY, of which there is one. */
  readonly keyId: string
  /** 32 bytes. */
  readonly value: Buffer
}

/** What keeps keys from being used, lines of `NAME: why`, which never hold a key. */
export type KeyProblems = Partial<Record<KeyPurpose, string>>

export type KeyPurpose = 'CODE_KEYS' | 'PII_KEYS' | 'INDEX_KEY'

/** Returns the checks of all keys, also of those that are no longer current. */
export function keyChecks({ code, pii, index }: Keys): KeyCheck[] {
  const ring = (purpose: KeyPurpose, keys: Iterable<[string, Buffer]>) =>
    [...keys].map(([keyId, key]) => ({ purpose, keyId, value: createHmac('sha256', key).update('key check').digest() }))
  return [...ring('CODE_KEYS', code.byId), ...ring('PII_KEYS', pii.byId), ...ring('INDEX_KEY', [['', index]])]
}
