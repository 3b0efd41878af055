import { create } from '@bufbuild/protobuf'
import { type Timestamp, TimestampSchema, timestampFromMs } from '@bufbuild/protobuf/wkt'
import type { Check } from './request-fields.ts'

/** The years 1 to 9999: https://protobuf.dev/reference/protobuf/google.protobuf/#timestamp */
const FIRST_SECOND = -62_135_596_800
const LAST_SECOND = 253_402_300_799

/** Reads a time, cut to whole milliseconds: rounding up could lead into the year 10000. */
export function timeIn(check: Check, field: string, time: Timestamp | undefined): Date | undefined {
  const { seconds, nanos } = time ?? create(TimestampSchema)
  const at = Number(seconds)
  check(field, time, at >= FIRST_SECOND && at <= LAST_SECOND, 'must be in the years 1 to 9999')
  check(field, time, nanos >= 0 && nanos < 1e9, 'must have nanos of 0 to 999,999,999')
  return time && new Date(at * 1_000 + Math.floor(nanos / 1e6))
}

/** Returns `time` as a Timestamp, moved into the years 1 to 9999: a time outside of them would fail the whole answer. */
export function toTimestamp(time: Date): Timestamp {
  return timestampFromMs(Math.min(Math.max(time.getTime(), FIRST_SECOND * 1_000), LAST_SECOND * 1_000 + 999))
}
