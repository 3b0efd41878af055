import type { RoutingService } from '../../gen/bank/signature/v1/routing_pb.ts'
import { Channel, PassReason } from '../../gen/bank/signature/v1/signature_pb.ts'
import type { Context } from '../context.ts'
import { overloaded } from '../errors.ts'
import { explainRoute } from '../usecases/explain-route.ts'
import { getRoutingTable } from '../usecases/get-routing-table.ts'
import { listProviders } from '../usecases/list-providers.ts'
import { listRoutingTableVersions } from '../usecases/list-routing-table-versions.ts'
import { publishRoutingTable } from '../usecases/publish-routing-table.ts'
import { rollBackRoutingTable } from '../usecases/roll-back-routing-table.ts'
import { setProviderState } from '../usecases/set-provider-state.ts'
import { simulateRoutingTable } from '../usecases/simulate-routing-table.ts'
import type { FilledService } from './filled.ts'
import { noteCall } from './observe.ts'
import { toProvider, toProviderSwitch, toRouteMessage, toRoutingTable } from './routing-messages.ts'
import {
  parseExplain,
  parseListVersions,
  parsePublish,
  parseRollBack,
  parseSetState,
  parseSimulate,
  parseVersion,
} from './routing-requests.ts'

/** The operators' service over the use cases. */
export function routingService(ctx: Context): FilledService<typeof RoutingService> {
  let isSimulating = false
  return {
    async getRoutingTable({ version }) {
      return { routingTable: toRoutingTable(await getRoutingTable(ctx, parseVersion(version))) }
    },
    async listRoutingTableVersions(request) {
      const { versions, nextBefore } = await listRoutingTableVersions(ctx, parseListVersions(request))
      return { versions: versions.map(toRoutingTable), nextPageToken: nextBefore ? String(nextBefore) : '' }
    },
    async publishRoutingTable(request, { values }) {
      const table = await publishRoutingTable(ctx, parsePublish(request, ctx))
      noteCall(values, { routing_table_version: String(table.version), author: table.author })
      return { routingTable: toRoutingTable(table) }
    },
    async rollBackRoutingTable(request, { values }) {
      const table = await rollBackRoutingTable(ctx, parseRollBack(request))
      noteCall(values, { routing_table_version: String(table.version), author: table.author })
      return { routingTable: toRoutingTable(table) }
    },
    async explainRoute(request) {
      const { version, route, providers, unmet } = await explainRoute(ctx, parseExplain(request))
      return {
        version,
        route: route && toRouteMessage(route),
        providers: providers.map(({ provider, channel, passReason }) => ({
          provider,
          channel: Channel[channel],
          passReason: PassReason[passReason ?? 'UNSPECIFIED'],
        })),
        unmetRoutes: unmet,
      }
    },
    async simulateRoutingTable(request, { signal }) {
      if (isSimulating) throw overloaded('another simulation is under way')
      const draft = parseSimulate(request, ctx)
      isSimulating = true
      const { signatures, unmoved, moves } = await simulateRoutingTable(ctx, draft, signal).finally(() => {
        isSimulating = false
      })
      return {
        signatures,
        unmoved,
        moves: moves.map(({ from, to, signatures }) => ({ fromProvider: from, toProvider: to, signatures })),
      }
    },
    async listProviders() {
      return { providers: (await listProviders(ctx)).map(toProvider) }
    },
    async setProviderState(request, { values }) {
      const input = parseSetState(request, ctx)
      noteCall(values, { provider: input.provider, author: input.author })
      const said = await setProviderState(ctx, input)
      return { killSwitch: toProviderSwitch(said, said.pausedUntil !== null) }
    },
  }
}
