import { sql } from 'kysely'
import type { Challenge, DeliveryStatus } from '../domain/challenge.ts'
import type { Route } from '../domain/routing.ts'
import type { Db } from './database.ts'

/** A challenge as it is stored, with what use cases judge it by. */
export interface StoredChallenge extends Challenge {
  /** The row of the routing table that chose the provider. */
  route: Route
  /** A process is delivering it right now. */
  beingDelivered: boolean
  /** Still open, but its signature's time is over by the database's clock. */
  due: boolean
}

/** The challenge of that id, when its signature is this caller's. */
export async function findChallenge(db: Db, caller: string, id: string): Promise<StoredChallenge | undefined> {
  const row = await selectChallenges(db).where('challenge.id', '=', id).where('caller', '=', caller).executeTakeFirst()
  return row && toStoredChallenge(row)
}

/** Challenges beside their signatures, with what {@link toStoredChallenge} needs. */
export function selectChallenges(db: Db) {
  return db
    .selectFrom('challenge')
    .innerJoin('signature', 'signature.id', 'challenge.signature_id')
    .selectAll('challenge')
    .select([
      'signature.phone_masked',
      // Once the lease has run out without a word, nobody knows what became of the call.
      sql<DeliveryStatus | null>`
        CASE WHEN delivery_status IS NULL AND challenge.status = 'PENDING' AND lease_expires_at <= clock_timestamp()
          THEN 'UNKNOWN' ELSE delivery_status END
      `.as('known_delivery_status'),
      sql<boolean>`signature.status = 'PENDING' AND signature.expires_at <= clock_timestamp()`.as('due'),
    ])
}

type ChallengeRow = Awaited<ReturnType<ReturnType<typeof selectChallenges>['executeTakeFirstOrThrow']>>

/** A row of {@link selectChallenges} as use cases know it. */
export function toStoredChallenge(row: ChallengeRow): StoredChallenge {
  return {
    id: row.id,
    signatureId: row.signature_id,
    channel: row.channel,
    provider: row.provider,
    status: row.status,
    deliveryStatus: row.known_delivery_status,
    providerChallengeId: row.provider_challenge_id,
    maskedPhone: row.phone_masked,
    triesRemaining: row.max_tries - row.tries_used,
    createdAt: row.created_at,
    sentAt: row.sent_at,
    expiresAt: row.expires_at,
    deliveryReport:
      row.vendor_status !== null && row.delivery_reported_at
        ? {
            vendorStatus: row.vendor_status,
            providerErrorCode: row.delivery_error_code,
            reportedAt: row.delivery_reported_at,
          }
        : null,
    failure: row.failure_reason && { reason: row.failure_reason, providerErrorCode: row.provider_error_code },
    route: row.route,
    routingTableVersion: row.routing_table_version,
    routePriority: row.route.priority,
    choice: row.choice,
    passedOver: row.passed_over,
    beingDelivered: row.status === 'PENDING' && row.known_delivery_status === null,
    due: row.due,
  }
}
