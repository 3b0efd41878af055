import pg from 'pg'

/** Creates a database on the server of that URL, as a copy of another one, and gives its URL. */
export async function createDatabase(serverUrl: string, name: string, copyOf: string): Promise<string> {
  const client = new pg.Client(serverUrl)
  await client.connect()
  try {
    await client.query(`CREATE DATABASE "${name}" TEMPLATE "${copyOf}"`)
  } finally {
    await client.end()
  }
  return Object.assign(new URL(serverUrl), { pathname: `/${name}` }).href
}
