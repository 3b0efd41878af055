import { sql } from 'kysely'
import type { SignatureStatus } from '../domain/signature.ts'
import type { Db } from './database.ts'
import { type StoredSignature, selectSignatures, toStoredSignature } from './signatures.ts'

/** Which signatures to list. An undefined filter matches all. */
export interface SignatureFilters {
  caller: string
  status: SignatureStatus | undefined
  provider: string | undefined
  customerHmac: Buffer | undefined
  /** Started then or later. */
  from: Date | undefined
  /** Started before. */
  to: Date | undefined
  /** Lists what comes after the signature of this id. Once that one is removed, so is everything older: nothing is listed. */
  after: string | undefined
}

/** Lists up to `limit` signatures, the latest by the database's clock first. */
export async function listSignatures(db: Db, filters: SignatureFilters, limit: number): Promise<StoredSignature[]> {
  const { status } = filters
  const askedAt = performance.now()
  // Each is read in the order of an index, and no further than the page goes.
  const page = streamsOf(status)
    .map((stream) => readStream(db, filters, stream, limit))
    .reduce((all, next) => all.unionAll(next))
  const rows = await selectSignatures(db)
    .where('id', 'in', (eb) =>
      eb.selectFrom(page.as('page')).orderBy('created_at', 'desc').orderBy('id', 'desc').limit(limit).select('id'),
    )
    .orderBy('created_at', 'desc')
    .orderBy('id', 'desc')
    .execute()
  return rows.map((row) => ({ ...toStoredSignature(row, askedAt), status: status ?? row.current_status }))
}

/** Signatures in one stored status; of those that are PENDING, only the ones whose time is over, or isn't. */
interface Stream {
  stored: SignatureStatus
  only?: 'live' | 'due'
}

/** What a list reads. A signature is EXPIRED as soon as its time is over, even if no process has closed it yet. */
function streamsOf(status: SignatureStatus | undefined): Stream[] {
  switch (status) {
    case undefined:
      return [
        { stored: 'PENDING' },
        { stored: 'SIGNED' },
        { stored: 'FAILED' },
        { stored: 'EXPIRED' },
        { stored: 'ABORTED' },
      ]
    case 'PENDING':
      return [{ stored: 'PENDING', only: 'live' }]
    case 'EXPIRED':
      return [{ stored: 'EXPIRED' }, { stored: 'PENDING', only: 'due' }]
    default:
      return [{ stored: status }]
  }
}

function readStream(db: Db, filters: SignatureFilters, { stored, only }: Stream, limit: number) {
  const { caller, provider, customerHmac, from, to, after } = filters
  // A customer has few, so those by a provider are looked for among them; and so are those that are due.
  const isSieved = customerHmac !== undefined || only === 'due'
  const inStatus = db
    .selectFrom(provider === undefined || isSieved ? signatures(db, filters) : signaturesBy(db, provider))
    .where('caller', '=', caller)
    .where('status', '=', stored)
    .selectAll()
  const stream = {
    // IS TRUE keeps it from the index of those that are due: these are read in the order of the list.
    live: inStatus.where(sql<boolean>`(expires_at > now()) IS TRUE`),
    // Sorted first, so that they are found by that index, and not past all that are live.
    due: inStatus.where('expires_at', '<=', sql<Date>`now()`).orderBy('expires_at', 'desc'),
    all: inStatus,
  }[only ?? 'all']
  const ordered = db
    .selectFrom(stream.as('stream'))
    .$if(from !== undefined, (query) => query.where('created_at', '>=', from as Date))
    .$if(to !== undefined, (query) => query.where('created_at', '<', to as Date))
    .$if(after !== undefined, (query) =>
      query.where(
        sql<boolean>`(created_at, id) < ((SELECT created_at FROM signature WHERE id = ${after}), ${after}::uuid)`,
      ),
    )
    .orderBy('created_at', 'desc')
    .orderBy('id', 'desc')
    .limit(limit)
    .select(['id', 'created_at'])
  return db.selectFrom(ordered.as('ordered')).selectAll()
}

function signatures(db: Db, { provider, customerHmac }: SignatureFilters) {
  return db
    .selectFrom('signature')
    .$if(customerHmac !== undefined, (query) => query.where('customer_hmac', '=', customerHmac as Buffer))
    .$if(provider !== undefined, (query) =>
      // Not EXISTS, which may become a join that reads the whole table.
      query.where(
        sql<boolean>`(SELECT true FROM signature_provider WHERE signature_id = signature.id AND provider = ${provider})`,
      ),
    )
    .select(['id', 'caller', 'status', 'created_at', 'expires_at'])
    .as('listed')
}

function signaturesBy(db: Db, provider: string) {
  return db
    .selectFrom('signature_provider')
    .where('provider', '=', provider)
    .select(['signature_id as id', 'caller', 'status', 'created_at', 'expires_at'])
    .as('listed')
}
