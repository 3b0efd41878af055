import { execFile } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { createServer } from 'node:http2'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { createFileRegistry, fromBinary, type MessageInitShape } from '@bufbuild/protobuf'
import { FileDescriptorProtoSchema, FileDescriptorSetSchema } from '@bufbuild/protobuf/wkt'
import { Code, createClient } from '@connectrpc/connect'
import { connectNodeAdapter, createGrpcTransport, Http2SessionManager } from '@connectrpc/connect-node'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { SignatureService } from '../../gen/bank/signature/v1/signature_pb.ts'
import * as v1 from '../../gen/grpc/reflection/v1/reflection_pb.ts'
import * as v1alpha from '../../gen/grpc/reflection/v1alpha/reflection_pb.ts'
import { Health as HealthService } from '../../gen/health/v1/health_pb.ts'
import { createHealth } from '../../src/rpc/health.ts'
import { addReflection } from '../../src/rpc/reflection.ts'

const ODD_PROTO = `
syntax = "proto2";
package odd;
import "shared.proto";
message Outer {
  extensions 100 to 200;
  oneof either { string left = 1; string right = 2; }
  message Inner { enum Mood { CALM = 0; } }
  extend Outer { optional string nested_note = 101; }
}
extend Outer { optional string note = 100; }
service Odd { rpc Do(Outer) returns (shared.Empty); }
`
const SHARED_PROTO = 'syntax = "proto3"; package shared; message Empty {}'

const run = promisify(execFile)
const buf = join(import.meta.dirname, '../../node_modules/.bin/buf')

async function oddService() {
  const folder = await mkdtemp(join(tmpdir(), 'reflection-'))
  try {
    await writeFile(join(folder, 'odd.proto'), ODD_PROTO)
    await writeFile(join(folder, 'shared.proto'), SHARED_PROTO)
    await run(buf, ['build', folder, '-o', join(folder, 'image.binpb')])
    const image = fromBinary(FileDescriptorSetSchema, await readFile(join(folder, 'image.binpb')))
    const service = createFileRegistry(image).getService('odd.Odd')
    if (!service) throw new Error('odd.Odd was not built')
    return service
  } finally {
    await rm(folder, { recursive: true })
  }
}

async function start() {
  const odd = await oddService()
  const health = createHealth([SignatureService.typeName])
  health.set(true)
  const server = createServer(
    connectNodeAdapter({
      routes(router) {
        router.service(SignatureService, {}).service(HealthService, health.service).service(odd, {})
        addReflection(router)
      },
    }),
  )
  await once(server.listen(0, '127.0.0.1'), 'listening')
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  const sessionManager = new Http2SessionManager(url)
  const transport = createGrpcTransport({ baseUrl: url, sessionManager })
  const close = async () => {
    sessionManager.abort()
    await new Promise((closed) => server.close(closed))
  }
  return {
    url,
    close,
    v1: createClient(v1.ServerReflection, transport),
    v1alpha: createClient(v1alpha.ServerReflection, transport),
  }
}

let app: Awaited<ReturnType<typeof start>>
beforeAll(async () => {
  app = await start()
})
afterAll(() => app.close())

const SERVICES = [
  'bank.signature.v1.SignatureService',
  'grpc.health.v1.Health',
  'grpc.reflection.v1.ServerReflection',
  'grpc.reflection.v1alpha.ServerReflection',
  'odd.Odd',
]

type Request = MessageInitShape<typeof v1.ServerReflectionRequestSchema>

async function* stream<T>(requests: T[]) {
  yield* requests
}

const ask = (...requests: Request[]) => Array.fromAsync(app.v1.serverReflectionInfo(stream(requests)))

/** The names of the files in the answer, the one asked for first; or the error code. */
async function filesFor(messageRequest: NonNullable<Request['messageRequest']>) {
  const [answer] = await ask({ messageRequest })
  const response = answer?.messageResponse
  if (response?.case === 'errorResponse') return response.value.errorCode
  if (response?.case !== 'fileDescriptorResponse') throw new Error(`unexpected ${response?.case}`)
  return response.value.fileDescriptorProto.map((bytes) => fromBinary(FileDescriptorProtoSchema, bytes).name)
}

const filesForSymbol = (value: string) => filesFor({ case: 'fileContainingSymbol', value })

test.each(['grpc-v1', 'grpc-v1alpha'])('buf curl needs no schema when it reflects with %s', async (version) => {
  const curl = async (...args: string[]) => {
    const options = ['--http2-prior-knowledge', '--protocol', 'grpc', '--reflect-protocol', version]
    return (await run(buf, ['curl', ...options, ...args])).stdout
  }
  expect((await curl(app.url, '--list-services')).trim().split('\n').sort()).toEqual(SERVICES)
  expect(await curl(app.url, '--list-methods')).toContain('bank.signature.v1.SignatureService/StartSignature\n')
  expect(JSON.parse(await curl(`${app.url}/grpc.health.v1.Health/Check`, '-d', '{}'))).toEqual({ status: 'SERVING' })
})

test('both versions repeat the host and the request', async () => {
  const request = {
    host: 'bank.example',
    messageRequest: {
      case: 'fileContainingExtension' as const,
      value: { containingType: 'odd.Outer', extensionNumber: 100 },
    },
  }
  const answers = [
    ...(await Array.fromAsync(app.v1.serverReflectionInfo(stream([request])))),
    ...(await Array.fromAsync(app.v1alpha.serverReflectionInfo(stream([request])))),
  ]
  const answer = {
    validHost: 'bank.example',
    originalRequest: request,
    messageResponse: { case: 'fileDescriptorResponse' },
  }
  expect(answers).toMatchObject([answer, answer])
})

test('a file comes with everything it imports', async () => {
  const files = await filesFor({ case: 'fileByFilename', value: 'bank/signature/v1/signature.proto' })
  expect(files).toEqual([
    'bank/signature/v1/signature.proto',
    'google/protobuf/timestamp.proto',
    'google/type/money.proto',
  ])
})

test.each([
  'odd.Odd',
  'odd.Odd.Do',
  'odd.Outer',
  'odd.Outer.left',
  'odd.Outer.either',
  'odd.Outer.Inner',
  'odd.Outer.Inner.Mood',
  'odd.Outer.Inner.CALM',
  'odd.Outer.nested_note',
  'odd.note',
])('the symbol %s is found in its file', async (symbol) => {
  expect(await filesForSymbol(symbol)).toEqual(['odd.proto', 'shared.proto'])
})

test('a symbol is also found in a file that is only imported', async () => {
  expect(await filesForSymbol('shared.Empty')).toEqual(['shared.proto'])
})

test('the details of errors are described, so that clients can show them', async () => {
  expect(await filesForSymbol('google.rpc.BadRequest')).toContain('google/rpc/error_details.proto')
})

test('extensions are found by number and listed by type', async () => {
  const extension = (containingType: string, extensionNumber: number) =>
    filesFor({ case: 'fileContainingExtension', value: { containingType, extensionNumber } })
  expect(await extension('odd.Outer', 101)).toEqual(['odd.proto', 'shared.proto'])
  expect(await extension('odd.Outer', 150)).toBe(Code.NotFound)
  expect(await extension('odd.Unknown', 100)).toBe(Code.NotFound)

  const numbers = (value: string) => ({ messageRequest: { case: 'allExtensionNumbersOfType' as const, value } })
  const answers = await ask(numbers('odd.Outer'), numbers('shared.Empty'), numbers('odd.Unknown'))
  expect(answers.map((answer) => answer.messageResponse.value)).toMatchObject([
    { baseTypeName: 'odd.Outer', extensionNumber: expect.arrayContaining([100, 101]) },
    { baseTypeName: 'shared.Empty', extensionNumber: [] },
    { errorCode: Code.NotFound },
  ])
})

test('what is unknown answers NOT_FOUND and the stream goes on', async () => {
  const answers = await ask(
    { messageRequest: { case: 'fileContainingSymbol', value: 'odd.Unknown' } },
    { messageRequest: { case: 'fileByFilename', value: 'unknown.proto' } },
    {},
    { messageRequest: { case: 'listServices', value: '' } },
  )
  expect(answers.map((answer) => answer.messageResponse)).toMatchObject([
    { case: 'errorResponse', value: { errorCode: Code.NotFound, errorMessage: 'odd.Unknown not found' } },
    { case: 'errorResponse', value: { errorCode: Code.NotFound, errorMessage: 'unknown.proto not found' } },
    { case: 'errorResponse', value: { errorCode: Code.InvalidArgument } },
    { case: 'listServicesResponse' },
  ])
})
