import type { RouteMatch } from '../../src/domain/routing.ts'

/** The conditions of a row that serves every request. */
export const ANY: RouteMatch = {
  channel: null,
  country: null,
  callingPrefix: null,
  transactionType: null,
  customerSegment: null,
  amount: null,
  timeWindow: null,
}
