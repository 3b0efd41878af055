import { setTimeout as sleep } from 'node:timers/promises'
import pg from 'pg'
import type { Replica } from './replicas.ts'
import type { Wire } from './wire.ts'
import type { World } from './world.ts'

type Random = (below: number) => number

/** Something that goes wrong with the database, a network, a clock or a process. */
export interface SystemFault {
  name: string
  /** Does it and takes it back. False when it found nothing to go wrong with. */
  inject(world: World, random: Random): Promise<boolean>
}

const SOON_MS = 1_000
/** How long a fault that needs somebody to run into it waits for them. */
const COME_WITHIN_MS = 2_000

/** Every kind. */
export const SYSTEM_FAULTS: readonly SystemFault[] = [
  { name: 'database restart', inject: ({ postgres }) => postgres.restart('fast').then(() => true) },
  { name: 'database crash', inject: ({ postgres }) => postgres.restart('immediate').then(() => true) },
  { name: 'database failover', inject: failOver },
  { name: 'database connections cut', inject: cutAll },
  { name: 'database backends ended', inject: endBackends },
  {
    name: 'database silent',
    inject: (world) =>
      silence(
        world,
        world.replicas.map(({ database }) => database),
      ),
  },
  { name: 'database slow', inject: (world, random) => slow(one(world, random).database, 40) },
  { name: 'database away', inject: (world, random) => away(one(world, random).database) },
  { name: 'database takes no connections', inject: limitConnections },
  { name: 'rows locked', inject: (world) => lock(world, 'SELECT FROM signature ORDER BY id DESC LIMIT 50 FOR UPDATE') },
  { name: 'table locked', inject: (world) => lock(world, 'LOCK TABLE challenge IN ACCESS EXCLUSIVE MODE') },
  { name: 'deadlock', inject: deadlock },
  { name: 'deadlock reported', inject: (world, random) => raise(world, '40P01', 2, random) },
  { name: 'serialization failure', inject: (world, random) => raise(world, '40001', 2, random) },
  { name: 'disk full', inject: (world, random) => raise(world, '53100', 20, random) },
  { name: 'vendor refuses', inject: (world, random) => away(one(world, random).vendor, 100) },
  { name: 'vendor silent', inject: (world, random) => silence(world, [one(world, random).vendor]) },
  { name: 'vendor connections cut', inject: async (world, random) => cut(one(world, random).vendor) },
  { name: 'clients cut off', inject: async (world, random) => cut(one(world, random).front) },
  { name: 'clients in silence', inject: (world, random) => silence(world, [one(world, random).front]) },
  { name: 'clock forward', inject: (world, random) => shift(world, 60_000 * (1 + random(10)), random) },
  { name: 'clock back', inject: (world, random) => shift(world, -60_000 * (1 + random(10)), random) },
  { name: 'replica stopped for a while', inject: freeze },
]

function one({ replicas }: World, random: Random): Replica {
  return replicas[random(2) === 0 ? 0 : 1]
}

/** The standby takes over; a new one is made at once, since the next failover needs it. */
async function failOver({ postgres, replicas }: World): Promise<boolean> {
  await postgres.failOver()
  for (const { database } of replicas) {
    database.target = postgres.port()
    database.cut()
  }
  await postgres.rebuild()
  return true
}

async function cutAll({ replicas }: World): Promise<boolean> {
  for (const { database } of replicas) database.cut()
  return true
}

async function cut(wire: Wire): Promise<boolean> {
  wire.cut()
  return true
}

async function endBackends(world: World): Promise<boolean> {
  const rows = await world.query(
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'signature-router%'",
  )
  return rows.length > 0
}

/** Connections of that time stay dead for a little longer, as when a firewall has forgotten them. */
async function silence(_world: World, wires: Wire[]): Promise<boolean> {
  for (const wire of wires) wire.silent = true
  await sleep(SOON_MS)
  for (const wire of wires) wire.silent = false
  const dead = wires.flatMap((wire) => [...wire.dead])
  await sleep(SOON_MS)
  for (const socket of dead) socket.resetAndDestroy()
  return dead.length > 0
}

async function slow(wire: Wire, latencyMs: number): Promise<boolean> {
  wire.latencyMs = latencyMs
  await sleep(SOON_MS)
  wire.latencyMs = 0
  return true
}

async function away(wire: Wire, forMs = SOON_MS): Promise<boolean> {
  await wire.refuse()
  await sleep(forMs)
  await wire.accept()
  return true
}

/** The service's role may have so few connections, and those it has end. */
async function limitConnections(world: World): Promise<boolean> {
  await world.query('ALTER ROLE router CONNECTION LIMIT 3')
  await endBackends(world)
  await sleep(SOON_MS)
  await world.query('ALTER ROLE router CONNECTION LIMIT -1')
  return true
}

async function connect({ postgres }: World): Promise<pg.Client> {
  const client = new pg.Client(postgres.url('signatures'))
  client.on('error', () => {})
  await client.connect()
  return client
}

const WAITING = `SELECT FROM pg_stat_activity
  WHERE usename = 'router' AND wait_event_type = 'Lock' AND pg_blocking_pids(pid) @> ARRAY[pg_backend_pid()]`

async function lock(world: World, statement: string): Promise<boolean> {
  const client = await connect(world)
  try {
    await client.query('BEGIN')
    await client.query(statement)
    let isWaitedFor = false
    const startedAt = performance.now()
    const heldMs = () => performance.now() - startedAt
    for (; heldMs() < (isWaitedFor ? SOON_MS : COME_WITHIN_MS); await sleep(SOON_MS / 10)) {
      isWaitedFor ||= Boolean((await client.query(WAITING)).rowCount)
    }
    await client.query('ROLLBACK')
    return isWaitedFor
  } finally {
    await client.end()
  }
}

/** Holds challenges until the service waits for one with a signature in its hands, then asks for the signatures. */
async function deadlock(world: World): Promise<boolean> {
  const client = await connect(world)
  let heldUpMs = 0
  try {
    // Whoever has waited longer is the one that PostgreSQL ends.
    await client.query("SET deadlock_timeout = '400ms'")
    await client.query('BEGIN')
    await client.query("SELECT FROM challenge WHERE status IN ('PENDING', 'SENT') FOR UPDATE")
    // Nothing else of the service holds a signature for so long.
    for (const end = Date.now() + COME_WITHIN_MS; Date.now() < end && heldUpMs < 50; await sleep(5)) {
      if (!(await client.query(WAITING)).rowCount) continue
      const startedAt = performance.now()
      await client.query("SAVEPOINT a; SELECT FROM signature WHERE status = 'PENDING' FOR UPDATE; ROLLBACK TO a")
      heldUpMs = performance.now() - startedAt
    }
    await client.query('ROLLBACK')
  } catch {
    // It was this one that was ended.
  } finally {
    await client.end()
  }
  return heldUpMs >= 50
}

/** Lets the next writes to one table fail with an SQLSTATE. */
async function raise(world: World, sqlstate: string, times: number, random: Random): Promise<boolean> {
  const table = ['idempotency_key', 'signature', 'challenge', 'attempt', 'timeline'][random(5)]
  await world.query(`
    CREATE SEQUENCE chaos_raised;
    GRANT USAGE ON SEQUENCE chaos_raised TO PUBLIC;
    CREATE FUNCTION chaos_raise() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
      IF nextval('chaos_raised') <= ${times} THEN RAISE EXCEPTION 'chaos' USING ERRCODE = '${sqlstate}'; END IF;
      RETURN NEW;
    END $$;
    CREATE TRIGGER chaos BEFORE INSERT OR UPDATE ON ${table} FOR EACH ROW EXECUTE FUNCTION chaos_raise()`)
  await sleep(SOON_MS / 2)
  const [row] = await world.query('SELECT is_called FROM chaos_raised')
  await world.query('DROP FUNCTION chaos_raise CASCADE; DROP SEQUENCE chaos_raised')
  return row?.is_called === true
}

async function shift(world: World, offsetMs: number, random: Random): Promise<boolean> {
  const replica = one(world, random)
  await replica.shiftClock(offsetMs)
  await sleep(SOON_MS)
  await replica.shiftClock(0)
  return true
}

async function freeze(world: World, random: Random): Promise<boolean> {
  const replica = one(world, random)
  replica.signal('SIGSTOP')
  await sleep(SOON_MS + random(1_000))
  replica.signal('SIGCONT')
  return true
}
