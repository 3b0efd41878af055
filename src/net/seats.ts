/** The open connections, and which of them have work under way. */
export interface Seats<Connection> {
  /** Adds a new connection. */
  take(connection: Connection): void
  /** Removes a connection that has closed. */
  leave(connection: Connection): void
  /** Marks work as begun on a connection. It is idle again after as many calls of {@link Seats.rest}. */
  work(connection: Connection): void
  /** Marks work as ended on a connection. */
  rest(connection: Connection): void
}

/**
 * Creates seats for up to `most` connections. One more makes room by calling `end` with the oldest connection that has had
 * no work yet, or else the one that has been idle longest, or else, if all others are at work, the new one.
 */
export function createSeats<Connection>(most: number, end: (connection: Connection) => void): Seats<Connection> {
  const underWay = new Map<Connection, number>()
  /** Both are ordered by waiting time, longest first. */
  const unused = new Set<Connection>()
  const idle = new Set<Connection>()

  function leave(connection: Connection): void {
    underWay.delete(connection)
    unused.delete(connection)
    idle.delete(connection)
  }
  function change(connection: Connection, by: number): void {
    const before = underWay.get(connection)
    if (before === undefined) return
    underWay.set(connection, before + by)
    unused.delete(connection)
    if (before + by > 0) idle.delete(connection)
    else idle.add(connection)
  }
  return {
    take(connection) {
      underWay.set(connection, 0)
      unused.add(connection)
      if (underWay.size <= most) return
      const [oldest = connection] = unused
      const [longest = connection] = idle
      const leaving = oldest === connection ? longest : oldest
      leave(leaving)
      end(leaving)
    },
    leave,
    work: (connection) => change(connection, 1),
    rest: (connection) => change(connection, -1),
  }
}
