import pg from 'pg'

/** Defaults that change what statements mean or how answers are written, each away from PostgreSQL's own. */
const ODD_DEFAULTS = {
  DateStyle: 'German, DMY',
  TimeZone: 'Asia/Kathmandu',
  IntervalStyle: 'sql_standard',
  bytea_output: 'escape',
  client_encoding: 'LATIN1',
  extra_float_digits: '-15',
  standard_conforming_strings: 'off',
  array_nulls: 'off',
  transform_null_equals: 'on',
  default_transaction_isolation: 'serializable',
  default_transaction_deferrable: 'on',
  statement_timeout: '200ms',
  lock_timeout: '1ms',
  idle_in_transaction_session_timeout: '1ms',
  idle_session_timeout: '1s',
}

/** Gives a database all of them. */
export async function setOddDefaults(databaseUrl: string): Promise<void> {
  const client = new pg.Client(databaseUrl)
  await client.connect()
  try {
    const name = client.escapeIdentifier(new URL(databaseUrl).pathname.slice(1))
    const statements = Object.entries(ODD_DEFAULTS).map(
      ([key, value]) => `ALTER DATABASE ${name} SET ${key} = '${value}'`,
    )
    await client.query(statements.join('; '))
  } finally {
    await client.end()
  }
}
