import { open, stat } from 'node:fs/promises'
import { join } from 'node:path'
import pg from 'pg'

/** A node of a plan as EXPLAIN has it: https://www.postgresql.org/docs/current/using-explain.html */
interface PlanNode {
  'Node Type': string
  'Relation Name'?: string
  'Index Name'?: string
  'Actual Rows': number
  'Actual Loops': number
  'Rows Removed by Filter'?: number
  'Rows Removed by Index Recheck'?: number
  Plans?: PlanNode[]
}

/** A statement as it was executed. */
export interface ExecutedStatement {
  text: string
  plan: PlanNode
}

export interface PlanRecorder {
  /** All that was executed since the recorder was made, also by triggers and foreign keys. */
  statements(): Promise<ExecutedStatement[]>
}

/**
 * Has PostgreSQL write down the plan of every statement of later connections to a database:
 * https://www.postgresql.org/docs/current/auto-explain.html. The URL must be a superuser's on this machine.
 */
export async function recordPlans(url: string): Promise<PlanRecorder> {
  const client = new pg.Client(url)
  await client.connect()
  const database = client.escapeIdentifier(new URL(url).pathname.slice(1))
  const settings = {
    session_preload_libraries: 'auto_explain',
    'auto_explain.log_min_duration': '0',
    'auto_explain.log_analyze': 'on',
    'auto_explain.log_timing': 'off',
    'auto_explain.log_nested_statements': 'on',
    'auto_explain.log_format': 'json',
  }
  for (const [name, value] of Object.entries(settings)) {
    await client.query(`ALTER DATABASE ${database} SET ${name} = '${value}'`)
  }
  const { rows } = await client.query("SELECT current_setting('data_directory') AS directory")
  await client.end()
  const path = join(rows[0].directory, '../postgres.log')
  const { size } = await stat(path)
  return {
    async statements() {
      await using log = await open(path)
      let json: string | undefined
      const statements: ExecutedStatement[] = []
      for await (const line of log.readLines({ start: size })) {
        // A message's further lines begin with a tab.
        if (line.startsWith('\t')) json &&= json + line
        else {
          if (json) statements.push(read(json))
          json = / {2}plan:$/.test(line) ? ' ' : undefined
        }
      }
      return json ? [...statements, read(json)] : statements
    },
  }
}

function read(json: string): ExecutedStatement {
  const { 'Query Text': text, Plan: plan } = JSON.parse(json)
  return { text: text.replace(/\s+/g, ' ').trim(), plan }
}

/** A plan's nodes, from the top. */
export function nodesOf(node: PlanNode): PlanNode[] {
  return [node, ...(node.Plans ?? []).flatMap(nodesOf)]
}

/** How many rows of a table or an index a node looked at, over all its loops. */
export function rowsRead(node: PlanNode): number {
  const { 'Rows Removed by Filter': filtered = 0, 'Rows Removed by Index Recheck': rechecked = 0 } = node
  return (node['Actual Rows'] + filtered + rechecked) * node['Actual Loops']
}
