import type { Route } from '../domain/routing.ts'
import type { SignatureProvider } from './provider.ts'

/** What rows ask for that isn't there, a sentence each. */
export function unknownProviders(
  routes: readonly Route[],
  providers: ReadonlyMap<string, SignatureProvider>,
): string[] {
  const known = [...providers.values()].map(({ name, channel }) => `${name} for ${channel}`).join(', ')
  return routes.flatMap(({ priority, channels }) =>
    channels.flatMap(({ channel, providers: named }) =>
      named
        .filter(({ provider }) => providers.get(provider)?.channel !== channel)
        .map(
          ({ provider }) =>
            `the route with priority ${priority} names "${provider}" for ${channel}; there is only ${known}`,
        ),
    ),
  )
}
