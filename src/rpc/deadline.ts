/** https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md#requests */
const UNIT_MS: Record<string, number> = { H: 3_600_000, M: 60_000, S: 1_000, m: 1, u: 1e-3, n: 1e-6 }

/** Shortens the deadline in a request's header to at most `mostMs`. A malformed one stays, and is refused later. */
export function capDeadline(header: Headers, mostMs: number): void {
  const [, count, unit = ''] = /^(\d{1,8})([HMSmun])$/.exec(header.get('grpc-timeout') ?? '') ?? []
  if (Number(count) * Number(UNIT_MS[unit]) > mostMs) header.set('grpc-timeout', `${mostMs}m`)
}
