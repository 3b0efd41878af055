import {
  createRegistry,
  type DescEnum,
  type DescExtension,
  type DescFile,
  type DescMessage,
  type DescService,
  toBinary,
} from '@bufbuild/protobuf'
import { FileDescriptorProtoSchema } from '@bufbuild/protobuf/wkt'
import { Code, type ConnectRouter } from '@connectrpc/connect'
import { file_google_rpc_error_details } from '../../gen/google/rpc/error_details_pb.ts'
import * as v1 from '../../gen/grpc/reflection/v1/reflection_pb.ts'
import * as v1alpha from '../../gen/grpc/reflection/v1alpha/reflection_pb.ts'

type Request = v1.ServerReflectionRequest | v1alpha.ServerReflectionRequest

/**
 * Adds server reflection, in both versions of the protocol, so that clients can ask for our protos. It describes itself, the
 * details of errors and the services that `router` has at this moment: call it last.
 * https://github.com/grpc/grpc/blob/master/doc/server-reflection.md
 */
export function addReflection(router: ConnectRouter): void {
  const registered = router.handlers.map((handler) => handler.service)
  const answer = createAnswer([...new Set([...registered, v1.ServerReflection, v1alpha.ServerReflection])])

  async function* reflect<R extends Request>(requests: AsyncIterable<R>) {
    for await (const request of requests) {
      yield { validHost: request.host, originalRequest: request, messageResponse: answer(request.messageRequest) }
    }
  }
  router.service(v1.ServerReflection, { serverReflectionInfo: reflect })
  router.service(v1alpha.ServerReflection, { serverReflectionInfo: reflect })
}

function createAnswer(services: DescService[]) {
  const described = [...services.map(({ file }) => file), file_google_rpc_error_details]
  const files = new Set(described.flatMap((file) => [...withImports(file)]))
  const types = createRegistry(...files)
  const filesByName = new Map([...files].map((file) => [file.proto.name, file]))
  const filesBySymbol = new Map([...types].flatMap((type) => symbolsOf(type).map((symbol) => [symbol, type.file])))

  return (asked: Request['messageRequest']) => {
    switch (asked.case) {
      case 'listServices':
        return {
          case: 'listServicesResponse' as const,
          value: { service: services.map(({ typeName }) => ({ name: typeName })) },
        }
      case 'fileByFilename':
        return fileAnswer(filesByName.get(asked.value), asked.value)
      case 'fileContainingSymbol':
        return fileAnswer(filesBySymbol.get(asked.value), asked.value)
      case 'fileContainingExtension': {
        const { containingType, extensionNumber } = asked.value
        const extended = types.getMessage(containingType)
        const extension = extended && types.getExtensionFor(extended, extensionNumber)
        return fileAnswer(extension?.file, `extension ${extensionNumber} of ${containingType}`)
      }
      case 'allExtensionNumbersOfType': {
        const baseTypeName = asked.value
        if (!types.getMessage(baseTypeName)) return errorAnswer(Code.NotFound, `${baseTypeName} not found`)
        const extensions = [...types].filter((type) => type.kind === 'extension')
        const own = extensions.filter(({ extendee }) => extendee.typeName === baseTypeName)
        return {
          case: 'allExtensionNumbersResponse' as const,
          value: { baseTypeName, extensionNumber: own.map((extension) => extension.number) },
        }
      }
      default:
        return errorAnswer(Code.InvalidArgument, 'the request names nothing to look up')
    }
  }
}

/** Returns the file and everything that it imports, directly or not. The file itself comes first. */
function withImports(file: DescFile, seen = new Set<DescFile>()): Set<DescFile> {
  if (seen.has(file)) return seen
  seen.add(file)
  for (const imported of file.dependencies) withImports(imported, seen)
  return seen
}

function symbolsOf(type: DescMessage | DescEnum | DescExtension | DescService): string[] {
  const { typeName } = type
  const within = (members: { name: string }[], scope: string) => members.map(({ name }) => scope + name)
  switch (type.kind) {
    case 'message':
      return [typeName, ...within([...type.fields, ...type.oneofs], `${typeName}.`)]
    case 'service':
      return [typeName, ...within(type.methods, `${typeName}.`)]
    case 'enum':
      // An enum's values are its siblings, not its children, as in C++.
      return [typeName, ...within(type.values, typeName.slice(0, typeName.lastIndexOf('.') + 1))]
    case 'extension':
      return [typeName]
  }
}

function fileAnswer(file: DescFile | undefined, wanted: string) {
  if (!file) return errorAnswer(Code.NotFound, `${wanted} not found`)
  const fileDescriptorProto = [...withImports(file)].map(({ proto }) => toBinary(FileDescriptorProtoSchema, proto))
  return { case: 'fileDescriptorResponse' as const, value: { fileDescriptorProto } }
}

function errorAnswer(errorCode: Code, errorMessage: string) {
  return { case: 'errorResponse' as const, value: { errorCode, errorMessage } }
}
