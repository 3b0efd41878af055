import { sql } from 'kysely'
import type { Challenge, DeliveryStatus } from '../domain/challenge.ts'
import type { Route } from '../domain/routing.ts'
import type { Db } from './database.ts'

/** A stored challenge, with the facts that use cases judge it by. */
export interface StoredChallenge extends Challenge {
  /** The row of the routing table that chose the provider. */
  route: Route
  /** A process is delivering it right now. */
  beingDelivered: boolean
  /** Still open, but its signature's time is over by the database's clock. */
  due: boolean
}

/** Returns the challenge of that id if its signature is this caller's. */
export async function findChallenge(db: Db, caller: string, id: string): Promise<StoredChallenge | undefined> {
  const row = await selectChallenges(db).where('challenge.id', '=', id).where('caller', '=', caller).executeTakeFirst()
  return row && toStoredChallenge(row)
}

/** Selects challenges joined with their signatures, with the columns that {@link toStoredChallenge} needs. */
export function selectChallenges(db: Db) {
  return db
    .selectFrom('challenge')
    .innerJoin('signature', 'signature.id', 'challenge.signature_id')
    .selectAll('challenge')
    .select([
      'signature.phone_masked',
      // Once the lease has run out without a record, the outcome of the call is unknown.
      sql<DeliveryStatus | null>`
        CASE WHEN delivery_status IS NULL AND challenge.status = 'PENDING' AND lease_expires_at <= clock_timestamp()
          THEN 'UNKNOWN' ELSE delivery_status END
      `.as('known_delivery_status'),
      sql<boolean>`signature.status = 'PENDING' AND signature.expires_at <= clock_timestamp()`.as('due'),
    ])
}

type ChallengeRow = Awaited<ReturnType<ReturnType<typeof selectChallenges>['executeTakeFirstOrThrow']>>

/** Converts a row of {@link selectChallenges}. */
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
