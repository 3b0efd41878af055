/** Who is connected, and who of them has something under way. */
export interface Seats<Connection> {
  take(connection: Connection): void
  leave(connection: Connection): void
  /** Something is under way on a connection, until {@link Seats.rest} is called as often. */
  work(connection: Connection): void
  rest(connection: Connection): void
}

/**
 * Has room for so many connections. For one more than that another one is told to `end`: of those that have done nothing
 * yet the oldest, else the one that has been idle longest, and the new one when all others are at work.
 */
export function createSeats<Connection>(most: number, end: (connection: Connection) => void): Seats<Connection> {
  const underWay = new Map<Connection, number>()
  /** In both, those that have been waiting longest come first. */
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
