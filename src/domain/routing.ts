import { type Amount, fromDecimal, totalNanos } from './amount.ts'
import type { Channel } from './challenge.ts'

/** A row of the routing table. What is null matches anything. */
export interface Route {
  id: string
  /** The lowest number is looked at first. */
  priority: number
  channel: Channel
  /** How the phone number begins, for example "+34". */
  callingPrefix: string | null
  transactionType: string | null
  /** The currency of the amounts below; alone, it matches any amount in that currency. */
  currency: string | null
  /** Decimal; the least amount that matches. */
  minAmount: string | null
  /** Decimal; the greatest amount that matches. */
  maxAmount: string | null
  provider: string
  enabled: boolean
}

/** What a route is chosen by. */
export interface RoutingRequest {
  phone: string
  amount: Amount
  transactionType: string
  /** Undefined lets the table decide. */
  channel: Channel | undefined
}

/** The first enabled row, by priority, that matches; undefined when none does. */
export function matchRoute(routes: readonly Route[], request: RoutingRequest): Route | undefined {
  return routes
    .filter((route) => route.enabled && matches(route, request))
    .reduce<Route | undefined>((first, route) => (first && first.priority <= route.priority ? first : route), undefined)
}

function matches(route: Route, { phone, amount, transactionType, channel }: RoutingRequest): boolean {
  return (
    (channel === undefined || route.channel === channel) &&
    (route.callingPrefix === null || phone.startsWith(route.callingPrefix)) &&
    (route.transactionType === null || route.transactionType === transactionType) &&
    (route.currency === null || route.currency === amount.currency) &&
    (route.minAmount === null || totalNanos(amount) >= totalNanos(fromDecimal(route.minAmount))) &&
    (route.maxAmount === null || totalNanos(amount) <= totalNanos(fromDecimal(route.maxAmount)))
  )
}
