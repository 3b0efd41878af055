import { once } from 'node:events'
import http2 from 'node:http2'
import { Code } from '@connectrpc/connect'
import { afterAll, expect, inject, test } from 'vitest'
import { startRequest } from '../support/app.ts'
import { type Malformed, malformed } from '../support/malformed.ts'
import { seededRandom } from '../support/seeded-random.ts'
import { connect, killLeftovers, ownDatabase, type ServiceProcess, serve } from '../support/service-process.ts'

/** `MALFORMED=200000` tries many more. */
const COUNT = Number(process.env.MALFORMED ?? 20_000)
const AT_ONCE = 50
/** Each connection ends after so many, so that none hides what another one broke. */
const PER_CONNECTION = 1_000

afterAll(killLeftovers)

/** The gRPC code, or the HTTP status of what was not answered as gRPC, or how its stream was reset. */
function send(session: http2.ClientHttp2Session, { headers, body }: Malformed): Promise<string> {
  return new Promise((resolve) => {
    let told: string | undefined
    const look = (answer: http2.IncomingHttpHeaders & { ':status'?: number }) => {
      if (answer['grpc-status'] !== undefined) told = Code[Number(answer['grpc-status'])] ?? 'OK'
      else if (answer[':status'] !== 200 && answer[':status'] !== undefined) told = `HTTP ${answer[':status']}`
    }
    const stream = session.request(headers)
    stream
      .on('response', look)
      .on('trailers', look)
      .on('error', () => {})
      .once('close', () => resolve(told ?? `reset ${stream.rstCode}`))
      .resume()
    stream.end(body)
  })
}

async function residentMib({ admin }: ServiceProcess): Promise<number> {
  const page = await (await fetch(`${admin}/metrics`)).text()
  return Number(/^process_resident_memory_bytes (\d+)/m.exec(page)?.[1]) / 1024 ** 2
}

test(
  `${COUNT} malformed requests end no process, are nobody's fault but the client's, and take no memory`,
  async () => {
    await using service = await serve(await ownDatabase())
    const random = seededRandom(inject('seed'))
    const outcomes = new Map<string, number>()

    async function sendMany(from: number, to: number): Promise<void> {
      for (let first = from; first < to; first += PER_CONNECTION) {
        const session = http2.connect(service.grpcUrl).on('error', () => {})
        await once(session, 'remoteSettings')
        let next = first
        const sendSome = async () => {
          while (next < Math.min(to, first + PER_CONNECTION)) {
            const each = malformed(next++, random)
            const outcome = `${each.kind}: ${await send(session, each)}`
            outcomes.set(outcome, (outcomes.get(outcome) ?? 0) + 1)
          }
        }
        await Promise.all(Array.from({ length: AT_ONCE }, sendSome))
        session.destroy()
      }
    }

    const warmUp = Math.min(COUNT / 2, 10_000)
    await sendMany(0, warmUp)
    const beforeMib = await residentMib(service)
    let sent = warmUp
    let grownMib = Number.POSITIVE_INFINITY
    // A heap still finds its size at first. What leaks goes on growing.
    for (let round = 0; round < 3 && grownMib > 50; round++) {
      const startMib = await residentMib(service)
      await sendMany(sent, sent + COUNT - warmUp)
      sent += COUNT - warmUp
      grownMib = (await residentMib(service)) - startMib
    }

    // 1: what HTTP/2 itself forbids.
    const faults = [...outcomes].filter(([outcome]) => /: (Internal|Unknown|HTTP 5\d\d|reset (?!1$).*)$/.test(outcome))
    expect(faults).toEqual([])
    const lines = service.output.stdout.split('\n')
    expect(lines.filter((line) => /"level":"(error|fatal)"/.test(line))).toEqual([])
    expect(grownMib).toBeLessThan(50)
    await connect(service.grpcUrl).startSignature(startRequest())
    const told = {
      before_mib: beforeMib,
      after_mib: await residentMib(service),
      ...Object.fromEntries([...outcomes].sort()),
    }
    if (process.env.MALFORMED) process.stderr.write(`${JSON.stringify(told, null, 2)}\n`)
  },
  60_000 + COUNT * 30,
)
