import { type RawBuilder, sql } from 'kysely'
import { DELIVERY_STATUSES, type DeliveryStatus } from '../domain/challenge.ts'

/** The rank of a delivery status in {@link DELIVERY_STATUSES}, 1 for the first; 0 for null. */
export function rankOf(status: RawBuilder<unknown>): RawBuilder<number> {
  return sql<number>`coalesce(array_position(${sql.val([...DELIVERY_STATUSES])}::text[], ${status}), 0)`
}

/** The higher of `status` and the row's delivery status. */
export function atLeast(status: DeliveryStatus): RawBuilder<DeliveryStatus> {
  return sql<DeliveryStatus>`
    CASE WHEN ${rankOf(sql`${status}::text`)} > ${rankOf(sql.ref('delivery_status'))} THEN ${status} ELSE delivery_status END
  `
}
