/** Who is connected, and who of them has something under way. */
export interface Seats<Connection> {
  take(connection: Connection): void
  leave(connection: Connection): void
  /** Something is under way on a connection, until {@link Seats.rest} is called as often. */
  work(connection: Connection): void
  rest(connection: Connection): void
}

/**
 * Has room for so many connections. Of one more than that, the one that has been idle longest is told to `end`, or the new
 * one when no other is idle.
 */
export function createSeats<Connection>(most: number, end: (connection: Connection) => void): Seats<Connection> {
  const underWay = new Map<Connection, number>()
  /** Those that have been idle longest come first. */
  const idle = new Set<Connection>()

  function leave(connection: Connection): void {
    underWay.delete(connection)
    idle.delete(connection)
  }
  function change(connection: Connection, by: number): void {
    const before = underWay.get(connection)
    if (before === undefined) return
    underWay.set(connection, before + by)
    if (before + by > 0) idle.delete(connection)
    else idle.add(connection)
  }
  return {
    take(connection) {
      underWay.set(connection, 0)
      idle.add(connection)
      if (underWay.size <= most) return
      const [longest = connection] = idle
      leave(longest)
      end(longest)
    },
    leave,
    work: (connection) => change(connection, 1),
    rest: (connection) => change(connection, -1),
  }
}
