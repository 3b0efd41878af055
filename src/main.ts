import { EventEmitter, once } from 'node:events'
import { loadConfig, loadDatabaseConfig } from './config.ts'
import { useEgressProxy } from './egress-proxy.ts'
import { type Crashes, migrateDatabase, startServer } from './server.ts'

const USAGE = 'usage: main.ts            start the service\n       main.ts migrate [up|down]'

/** Longer than a drain takes. */
const CRASH_EXIT_MS = 25_000

const stop = new AbortController()
// Not once, as npm and a terminal each send the same Ctrl-C: the second must not cut the stop short.
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => stop.abort())

const crashes: Crashes = new EventEmitter()
// Unhandled rejections come here, too. Not once, for the same reason.
process.on('uncaughtException', (error) => {
  // No logger yet. Print only the name: the message may hold personal data.
  if (!crashes.emit('crash', error)) process.stderr.write(`uncaught ${error.name}\n`)
  process.exitCode = 1
  stop.abort()
  // After a crash the drain itself may hang, so force the exit.
  setTimeout(() => process.exit(), CRASH_EXIT_MS).unref()
})

try {
  await run(process.argv.slice(2))
} catch (error) {
  if (!stop.signal.aborted) {
    // An address with several hosts fails once for each, and has no message of its own.
    const errors = error instanceof AggregateError ? error.errors : [error]
    for (const { message } of errors) process.stderr.write(`${message}\n`)
    process.exitCode = 1
  }
}

async function run([command, direction = 'up', ...rest]: string[]): Promise<void> {
  const known = command === undefined || (command === 'migrate' && (direction === 'up' || direction === 'down'))
  if (!known || rest.length > 0) throw new Error(USAGE)
  useEgressProxy(process.env)

  if (command === 'migrate') {
    const config = await loadDatabaseConfig(process.env, stop.signal)
    const names = await migrateDatabase(config, direction === 'down' ? 'down' : 'up')
    process.stdout.write(`${names.length === 0 ? 'nothing to migrate' : names.join('\n')}\n`)
    return
  }

  const config = await loadConfig(process.env, stop.signal)
  await using server = await startServer(config, { crashes })
  if (!config.production) process.stderr.write(`${welcome(config.host, server)}\n`)
  if (!stop.signal.aborted) await once(stop.signal, 'abort')
}

function welcome(
  address: string,
  { grpcPort, httpPort, adminPort, sandboxUrl }: Awaited<ReturnType<typeof startServer>>,
): string {
  const host = address.includes(':') ? `[${address}]` : address
  const request = {
    idempotency_key: 'order-1',
    customer_id: 'customer-1',
    phone_number: '+34600111222',
    transaction: {
      amount: { currency_code: 'EUR', units: 125, nanos: 500_000_000 },
      payee_name: 'ACME Ltd',
      payee_account: 'ES9121000418450200051332',
    },
  }
  return `
gRPC  ${host}:${grpcPort}
HTTP  http://${host}:${httpPort}/webhooks/
admin http://${host}:${adminPort}/metrics /livez /readyz
${sandboxUrl ? `phone ${sandboxUrl}/ (a sandbox: no message leaves this machine)\n` : ''}
npx buf curl --protocol grpc --http2-prior-knowledge \\
  -d '${JSON.stringify(request)}' \\
  http://${host}:${grpcPort}/bank.signature.v1.SignatureService/StartSignature
`
}
