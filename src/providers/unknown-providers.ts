import type { Route } from '../domain/routing.ts'
import type { SignatureProvider } from './provider.ts'

/** Returns a sentence for each provider that a row names and that isn't in `providers`, or is there for another channel. */
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
