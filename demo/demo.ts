import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { timestampDate } from '@bufbuild/protobuf/wkt'
import { ConnectError, createClient } from '@connectrpc/connect'
import { createGrpcTransport } from '@connectrpc/connect-node'
import {
  SignatureService,
  SignatureStatus,
  type TimelineEvent,
  TimelineEventTypeSchema,
} from '../gen/bank/signature/v1/signature_pb.ts'
import { ErrorInfoSchema } from '../gen/google/rpc/error_details_pb.ts'
import { loadConfig } from '../src/config.ts'
import { startServer } from '../src/server.ts'

const dataDir = await mkdtemp(join(tmpdir(), 'signature-router-demo-'))
try {
  say('Starting PostgreSQL, the sandbox and the service on free ports …')
  const ports = { GRPC_PORT: '0', HTTP_PORT: '0', ADMIN_PORT: '0', SANDBOX_PORT: '0' }
  const config = await loadConfig({ DATA_DIR: dataDir, LOG_LEVEL: 'silent', ...ports })
  await using server = await startServer(config)
  await demonstrate(`http://127.0.0.1:${server.grpcPort}`, server.sandboxUrl ?? '')
} finally {
  await rm(dataDir, { recursive: true })
}

/** One whole signature, as a bank service and its customer see it. Throws when anything goes another way. */
async function demonstrate(url: string, sandboxUrl: string): Promise<void> {
  const client = createClient(SignatureService, createGrpcTransport({ baseUrl: url }))
  const transaction = {
    amount: { currencyCode: 'EUR', units: 1250n, nanos: 500_000_000 },
    payeeName: 'Peluquería Ñandú',
    payeeAccount: 'ES9121000418450200051332',
  }

  const { signature, challenge } = await client.startSignature({
    idempotencyKey: 'payment-order-4711',
    customerId: 'customer-1',
    phoneNumber: '+34600111222',
    locale: 'es-ES',
    transaction,
  })
  const signatureId = signature?.id ?? ''
  say(`\nStartSignature      ${signatureId}`)
  say(`                    sent by ${challenge?.provider} to ${challenge?.maskedPhoneNumber}`)

  const messages = (await (await fetch(`${sandboxUrl}/messages`)).json()) as { to: string; body: string }[]
  const message = messages[0]
  say(`\nThe phone ${message?.to} shows:\n  ${message?.body}`)
  const code = /\b\d{6}\b/.exec(message?.body ?? '')?.[0] ?? ''
  const wrong = code === '000000' ? '000001' : '000000'

  const refused = await client.completeSignature({ signatureId, code: wrong, transaction }).then(
    () => undefined,
    (error: unknown) => ConnectError.from(error).findDetails(ErrorInfoSchema)[0],
  )
  if (refused?.reason !== 'CODE_REJECTED') throw new Error('a wrong code was not refused')
  say(`\nCompleteSignature   ${wrong}: ${refused.reason}, tries remaining: ${refused.metadata.tries_remaining}`)

  const signed = await client.completeSignature({ signatureId, code, transaction })
  if (signed.signature?.status !== SignatureStatus.SIGNED) throw new Error('the right code did not sign')
  say(`CompleteSignature   ${code}: SIGNED`)

  const { signature: after } = await client.getSignature({ signatureId })
  say(`\n${table(after?.timeline ?? [])}`)
}

function table(events: TimelineEvent[]): string {
  const rows = events.map(({ position, time, type, details }) => [
    String(position),
    time ? timestampDate(time).toISOString().slice(11, 23) : '',
    TimelineEventTypeSchema.value[type]?.localName ?? '',
    Object.entries(details)
      .sort()
      .map(([name, value]) => `${name}=${value}`)
      .join(' '),
  ])
  const all = [['#', 'time (UTC)', 'what', 'details'], ...rows]
  const widths = [0, 1, 2].map((column) => Math.max(...all.map((row) => row[column]?.length ?? 0)))
  return all
    .map((row) =>
      row
        .map((cell, column) => cell.padEnd(widths[column] ?? 0))
        .join('  ')
        .trimEnd(),
    )
    .join('\n')
}

function say(line: string): void {
  process.stdout.write(`${line}\n`)
}
