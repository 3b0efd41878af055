import { setImmediate as nextTurn } from 'node:timers/promises'
import type { Context } from '../context.ts'
import { findRoutingTable } from '../db/routing-tables.ts'
import { latestStarts, type Start } from '../db/starts.ts'
import { candidatesOf, drawSeed, nextCandidate } from '../domain/fallback.ts'
import { countryOf } from '../domain/phone.ts'
import { type CompiledRoutes, compileRoutes, matchRoute, type Route, type RoutingRequest } from '../domain/routing.ts'
import { reportAltered } from './altered.ts'
import { openSealed } from './known-keys.ts'

export interface SimulateRoutingTable {
  routes: Route[]
  /** The number of signatures to look at: the latest. */
  signatures: number
}

export interface SimulatedRouting {
  signatures: number
  unmoved: number
  /** Most first. An empty provider: no row matches. */
  moves: { from: string; to: string; signatures: number }[]
}

type Ctx = Pick<Context, 'db' | 'operatorReads' | 'keys' | 'readSecretsAgain' | 'log' | 'metrics'>

/** Other calls get their turn at least this often. */
const TURN_MS = 10

/**
 * Compares the provider that a draft would try first with that of the table in force, over the latest signatures. Throws
 * the signal's reason.
 */
export async function simulateRoutingTable(
  ctx: Ctx,
  draft: SimulateRoutingTable,
  signal: AbortSignal,
): Promise<SimulatedRouting> {
  return compare(ctx, draft, signal).catch(reportAltered(ctx))
}

async function compare(
  ctx: Ctx,
  { routes, signatures: limit }: SimulateRoutingTable,
  signal: AbortSignal,
): Promise<SimulatedRouting> {
  const now = compileRoutes((await findRoutingTable(ctx.db))?.routes ?? [])
  const draft = compileRoutes(routes)

  const moves = new Map<string, SimulatedRouting['moves'][number]>()
  let signatures = 0
  let unmoved = 0
  let turnEnds = performance.now() + TURN_MS
  for await (const start of latestStarts(ctx.operatorReads.db, limit)) {
    const request = await requestOf(ctx, start)
    const [from, to] = [firstInLine(now, start, request), firstInLine(draft, start, request)]
    signatures += 1
    if (from === to) unmoved += 1
    else {
      const move = moves.get(`${from} ${to}`) ?? { from, to, signatures: 0 }
      moves.set(`${from} ${to}`, { ...move, signatures: move.signatures + 1 })
    }
    if (performance.now() < turnEnds) continue
    await nextTurn()
    signal.throwIfAborted()
    turnEnds = performance.now() + TURN_MS
  }
  return { signatures, unmoved, moves: [...moves.values()].toSorted((a, b) => b.signatures - a.signatures) }
}

async function requestOf(ctx: Ctx, start: Start): Promise<RoutingRequest> {
  const phone = await openSealed(ctx, start.sealedPhone, start.id)
  const { amount, transactionType, customerSegment, channel, createdAt } = start
  return { phone, country: countryOf(phone), amount, transactionType, customerSegment, channel, at: createdAt }
}

/** Returns the provider that a table would try first, regardless of pauses and circuit breakers; '' if no row matches. */
function firstInLine(routes: CompiledRoutes, start: Start, request: RoutingRequest): string {
  const route = matchRoute(routes, request)
  if (!route) return ''
  const candidates = candidatesOf(route, drawSeed(start.phoneHmac, start.transactionDigest))
  const { candidate } = nextCandidate(candidates, [], ({ channel }) =>
    channel === 'PUSH' && !start.hasPushToken ? 'NO_PUSH_TOKEN' : undefined,
  )
  return candidate?.provider ?? ''
}
