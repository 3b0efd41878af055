/**
 * https://www.postgresql.org/docs/current/errcodes-appendix.html: connection (08), a standby (25006), a session ended for
 * waiting in a transaction (25P03), our password (28P01), a transaction that lost too often (40), resources (53), a lock
 * not granted in time (55P03), operator intervention (57), the system (58).
 */
const UNAVAILABLE_SQLSTATE = /^(08|25006|25P03|28P01|40|53|55P03|57|58)/
const UNAVAILABLE_SYSTEM = /^(ECONN|ENOTFOUND|EAI_AGAIN|EPIPE|ETIMEDOUT|EHOSTUNREACH|ENETUNREACH)/
/** pg names these by their text only: a connection that broke under a statement, or before it. */
const BROKEN_MESSAGE =
  /^(Connection terminated|Client has encountered a connection error|timeout expired|Query read timeout)/
/** No connection came free in time. */
const POOL_EXHAUSTED_MESSAGE = /^timeout exceeded when trying to connect/
const TOO_MANY_CONNECTIONS = '53300'
const READ_ONLY = '25006'

/**
 * Returns whether the database is away or overloaded, by an error of it; undefined if a statement was wrong.
 */
export function storageFailure(error: unknown): 'STORAGE_UNAVAILABLE' | 'OVERLOADED' | undefined {
  if (!(error instanceof Error)) return undefined
  const code = codeOf(error)
  if (code === TOO_MANY_CONNECTIONS || POOL_EXHAUSTED_MESSAGE.test(error.message)) return 'OVERLOADED'
  const isAway = UNAVAILABLE_SQLSTATE.test(code) || UNAVAILABLE_SYSTEM.test(code) || BROKEN_MESSAGE.test(error.message)
  return isAway ? 'STORAGE_UNAVAILABLE' : undefined
}

/** True if the same work may succeed later. */
export function isStorageUnavailable(error: unknown): boolean {
  return storageFailure(error) !== undefined
}

/** True if an open connection broke. A new one may be had at once. */
export function isBrokenConnection(error: Error): boolean {
  return BROKEN_MESSAGE.test(error.message) || /^(57P0[12]|ECONNRESET|EPIPE)$/.test(codeOf(error))
}

/** True if the server takes no writes: it is a standby, or was closed to writers. */
export function isReadOnlyServer(error: unknown): boolean {
  return error instanceof Error && codeOf(error) === READ_ONLY
}

/** Returns the error with which a server that takes no writes answers one. */
export function readOnlyServer(): Error {
  return Object.assign(new Error('the database takes no writes'), { code: READ_ONLY })
}

/** True if the server ended a statement for taking too long. */
export function isStatementTimeout(error: unknown): boolean {
  return error instanceof Error && codeOf(error) === '57014'
}

/** True if the server rejects our password. */
export function isPasswordRefused(error: unknown): boolean {
  return error instanceof Error && codeOf(error) === '28P01'
}

/** https://www.postgresql.org/docs/current/mvcc-serialization-failure-handling.html */
export function isConflict(error: Error): boolean {
  return /^(40001|40P01)$/.test(codeOf(error))
}

function codeOf(error: Error): string {
  return 'code' in error && typeof error.code === 'string' ? error.code : ''
}
