/** Counts the deliveries that each provider has under way in this process, and limits them. */
export interface InFlight {
  /** True if a provider has as many as the limit. */
  isFull(provider: string): boolean
  /** Counts a delivery with its provider until the result is disposed of. Call {@link isFull} first, in the same turn. */
  enter(provider: string): Delivering
  /** By provider. */
  counts: ReadonlyMap<string, number>
}

/** One delivery under way. */
export interface Delivering extends Disposable {
  /** The delivery goes on with another provider. */
  moveTo(provider: string): void
}

/** Makes the counts. `limit` is the most deliveries of one provider. */
export function createInFlight(limit: number): InFlight {
  const counts = new Map<string, number>()
  const add = (provider: string, count: number) => counts.set(provider, (counts.get(provider) ?? 0) + count)
  return {
    counts,
    isFull: (provider) => (counts.get(provider) ?? 0) >= limit,
    enter(first) {
      let current = first
      add(current, 1)
      return {
        moveTo(provider) {
          add(current, -1)
          current = provider
          add(current, 1)
        },
        [Symbol.dispose]: () => void add(current, -1),
      }
    },
  }
}
