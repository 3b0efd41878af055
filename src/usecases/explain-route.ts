import type { Context } from '../context.ts'
import type { Candidate, PassReason } from '../domain/challenge.ts'
import { compileRoutes, explainRoute as explain, type Route, type UnmetRoute } from '../domain/routing.ts'
import { getRoutingTable } from './get-routing-table.ts'
import { candidatesFor, obstacleTo, type RouteQuery, routingRequest } from './plan-route.ts'

export interface ExplainRoute extends RouteQuery {
  hasPushToken: boolean
  /** Undefined is now. */
  at: Date | undefined
  /** 0 is the one in force. */
  version: number
}

export interface ExplainedRoute {
  version: number
  route: Route | undefined
  providers: (Candidate & { skipReason: PassReason | undefined })[]
  unmet: UnmetRoute[]
}

/** Tells which row a request would take, which providers in which order, and why not the rows before it. */
export async function explainRoute(
  ctx: Pick<Context, 'db' | 'providers' | 'obstacle' | 'keys' | 'clock'>,
  query: ExplainRoute,
): Promise<ExplainedRoute> {
  const { version, routes } = await getRoutingTable(ctx, query.version)
  const { route, passed } = explain(compileRoutes(routes), routingRequest(query, query.at ?? ctx.clock()))
  const candidates = route ? candidatesFor(ctx, route, query) : []
  const providers = candidates.map((candidate) => ({
    ...candidate,
    skipReason: obstacleTo(ctx, candidate, query.hasPushToken),
  }))
  return { version, route, providers, unmet: passed }
}
