import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createClient } from '@connectrpc/connect'
import { createGrpcTransport } from '@connectrpc/connect-node'
import { BreakerState, RoutingService } from '../gen/bank/signature/v1/routing_pb.ts'
import { Channel, SignatureService } from '../gen/bank/signature/v1/signature_pb.ts'
import { loadConfig } from '../src/config.ts'
import { startServer } from '../src/server.ts'

/** What a start may take with the breaker of its first provider open, against one whose provider is well. */
const LIMIT = 2
const STARTS = 300
/** Many more than the breaker waits for. */
const FAILURES = 30

const dataDir = await mkdtemp(join(tmpdir(), 'signature-router-bench-'))
try {
  const env = {
    DATA_DIR: dataDir,
    GRPC_PORT: '0',
    HTTP_PORT: '0',
    ADMIN_PORT: '0',
    SANDBOX_PORT: '0',
    LOG_LEVEL: 'silent',
  }
  await using server = await startServer(await loadConfig({ ...env, DELIVERY_RETRIES: '0' }))
  const transport = createGrpcTransport({ baseUrl: `http://127.0.0.1:${server.grpcPort}` })
  const signatures = createClient(SignatureService, transport)
  const routing = createClient(RoutingService, transport)

  let started = 0
  async function start(): Promise<number> {
    const began = performance.now()
    await signatures.startSignature({
      idempotencyKey: `start-${++started}`,
      customerId: 'customer-1',
      phoneNumber: '+34600111222',
      transaction: {
        amount: { currencyCode: 'EUR', units: 125n },
        payeeName: 'ACME Ltd',
        payeeAccount: 'ES9121000418450200051332',
      },
    })
    return performance.now() - began
  }
  async function median(): Promise<number> {
    const times: number[] = []
    for (let count = 0; count < STARTS; count++) times.push(await start())
    return times.toSorted((a, b) => a - b)[STARTS >> 1] ?? Number.NaN
  }

  const providers = [
    { provider: 'vonage-sms', weight: 1 },
    { provider: 'twilio-sms', weight: 0 },
  ]
  await routing.publishRoutingTable({
    replacesVersion: 1,
    author: 'bench',
    reason: 'two providers',
    routes: [{ priority: 1, channels: [{ channel: Channel.SMS, providers }] }],
  })
  await median()
  const healthy = await median()

  const faults = Array.from({ length: FAILURES }, () => ({ provider: 'vonage-sms', status: 500 }))
  await fetch(`${server.sandboxUrl}/faults`, { method: 'POST', body: JSON.stringify({ next: faults }) })
  for (let count = 0; count < FAILURES; count++) await start()
  const open = await median()
  const { providers: listed } = await routing.listProviders({})
  if (listed.find(({ name }) => name === 'vonage-sms')?.breakerState !== BreakerState.OPEN) {
    throw new Error('the breaker did not open, or closed again too early')
  }

  const ratio = open / healthy
  process.stdout.write(
    `median of ${STARTS} starts: ${healthy.toFixed(2)} ms healthy, ${open.toFixed(2)} ms with the breaker open, ratio ${ratio.toFixed(2)}\n`,
  )
  if (!(ratio <= LIMIT)) {
    process.stderr.write(`an open breaker costs more than ${LIMIT} times\n`)
    process.exitCode = 1
  }
} finally {
  await rm(dataDir, { recursive: true, force: true })
}
