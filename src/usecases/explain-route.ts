import type { Context } from '../context.ts'
import type { Candidate, PassReason } from '../domain/challenge.ts'
import { compileRoutes, explainRoute as explain, type Route, type UnmetRoute } from '../domain/routing.ts'
import { getRoutingTable } from './get-routing-table.ts'
import { candidatesFor, passReasonOf, type RouteRequest, routeQuery, routingRequest } from './plan-route.ts'

export interface ExplainRoute extends RouteRequest {
  hasPushToken: boolean
  /** Undefined is now. */
  at: Date | undefined
  /** 0 is the one in force. */
  version: number
}

export interface ExplainedRoute {
  version: number
  route: Route | undefined
  providers: (Candidate & { passReason: PassReason | undefined })[]
  unmet: UnmetRoute[]
}

/** Returns the row that a request would take, its providers in order, and why not the rows before it. */
export async function explainRoute(
  ctx: Pick<Context, 'db' | 'providers' | 'passReason' | 'keys' | 'clock'>,
  input: ExplainRoute,
): Promise<ExplainedRoute> {
  const { version, routes } = await getRoutingTable(ctx, input.version)
  const query = routeQuery(ctx, input)
  const { route, passed } = explain(compileRoutes(routes), routingRequest(query, input.at ?? ctx.clock()))
  const candidates = route ? candidatesFor(route, query) : []
  const providers = candidates.map((candidate) => ({
    ...candidate,
    passReason: passReasonOf(ctx, candidate, input.hasPushToken),
  }))
  return { version, route, providers, unmet: passed }
}
