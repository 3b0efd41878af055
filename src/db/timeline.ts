import { sql } from 'kysely'
import type { PassedOver } from '../domain/challenge.ts'
import type { TimelineEvent, TimelineEventType } from '../domain/signature.ts'
import type { Db, Trx } from './database.ts'

/**
 * Adds an event to a signature's timeline. The transaction must hold the signature's row, by having written or locked
 * it: that keeps positions free of gaps and duplicates.
 */
export async function appendTimeline(
  trx: Trx,
  signatureId: string,
  type: TimelineEventType,
  challengeId: string | null,
  details: Record<string, string> = {},
): Promise<void> {
  await trx
    .insertInto('timeline')
    .columns(['signature_id', 'position', 'type', 'challenge_id', 'details'])
    .expression((eb) =>
      eb
        .selectFrom('timeline')
        .where('signature_id', '=', signatureId)
        .select([
          sql<string>`${signatureId}::uuid`.as('signature_id'),
          sql<number>`coalesce(max(position), 0) + 1`.as('position'),
          sql<TimelineEventType>`${type}`.as('type'),
          sql<string | null>`${challengeId}::uuid`.as('challenge_id'),
          sql<Record<string, string>>`${JSON.stringify(details)}::jsonb`.as('details'),
        ]),
    )
    .execute()
}

/** True if a signature's timeline has such an event. */
export async function isOnTimeline(
  db: Db,
  signatureId: string,
  { type, challengeId, details }: Pick<TimelineEvent, 'type' | 'challengeId' | 'details'>,
): Promise<boolean> {
  const event = await db
    .selectFrom('timeline')
    .where('signature_id', '=', signatureId)
    .where('type', '=', type)
    .where('challenge_id', '=', challengeId)
    .where(sql<boolean>`details @> ${JSON.stringify(details)}::jsonb`)
    .select('position')
    .executeTakeFirst()
  return event !== undefined
}

/** Adds the providers passed over to a signature's timeline, under the same condition. */
export async function appendPassedOver(
  trx: Trx,
  signatureId: string,
  passedOver: readonly PassedOver[],
): Promise<void> {
  for (const { provider, channel, reason } of passedOver) {
    await appendTimeline(trx, signatureId, 'PROVIDER_SKIPPED', null, { provider, channel, reason })
  }
}

/** Returns a signature's timeline after the position `after`, oldest first. */
export async function readTimeline(db: Db, signatureId: string, after = 0): Promise<TimelineEvent[]> {
  return db
    .selectFrom('timeline')
    .where('signature_id', '=', signatureId)
    .where('position', '>', after)
    .orderBy('position')
    .select(['position', 'created_at as createdAt', 'type', 'challenge_id as challengeId', 'details'])
    .execute()
}

/** Returns the last position on each of these signatures' timelines. */
export async function readLastPositions(
  db: Db,
  signatureIds: readonly string[],
): Promise<{ signatureId: string; position: number }[]> {
  return db
    .selectFrom('timeline')
    .where('signature_id', '=', sql<string>`ANY(${signatureIds})`)
    .groupBy('signature_id')
    .select(['signature_id as signatureId', (eb) => eb.fn.max('position').as('position')])
    .execute()
}
