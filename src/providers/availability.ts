import type { SignatureProvider } from './provider.ts'

/** A provider that takes longer to answer counts as unavailable. */
const ASK_MS = 2_000
const KEPT_MS = 10_000

/** True if a provider said within the last 10 s that it would serve us. */
export type Availability = (provider: SignatureProvider) => Promise<boolean>

/** Makes the function that asks a provider at most once in 10 s, for all its callers. */
export function createAvailability(clock: () => Date): Availability {
  const asked = new WeakMap<SignatureProvider, { at: number; answer: Promise<boolean> }>()
  return (provider) => {
    const now = clock().getTime()
    const last = asked.get(provider)
    if (last && now < last.at + KEPT_MS) return last.answer
    const answer = provider.isAvailable(AbortSignal.timeout(ASK_MS))
    asked.set(provider, { at: now, answer })
    return answer
  }
}

/** Asks each provider once whether it would serve us, and calls `onUnavailable` with the names of those that wouldn't. */
export function askProviders(
  providers: ReadonlyMap<string, SignatureProvider>,
  stopping: AbortSignal,
  onUnavailable: (provider: string) => void,
): void {
  for (const provider of providers.values()) {
    const signal = AbortSignal.any([stopping, AbortSignal.timeout(provider.timeoutMs)])
    provider.isAvailable(signal).then((available) => {
      if (!available && !stopping.aborted) onUnavailable(provider.name)
    })
  }
}
