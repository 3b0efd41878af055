import { gzipSync } from 'node:zlib'
import { create, toBinary } from '@bufbuild/protobuf'
import { RoutingService } from '../../gen/bank/signature/v1/routing_pb.ts'
import { SignatureService, StartSignatureRequestSchema } from '../../gen/bank/signature/v1/signature_pb.ts'
import { startRequest } from './app.ts'
import { pathOf } from './grpc-js.ts'
import { message } from './raw-http2.ts'

type Random = (below: number) => number

/** What a client may send that is no request, or only nearly one. */
export interface Malformed {
  kind: string
  headers: Record<string, string>
  body: Uint8Array
}

const PATHS = [...SignatureService.methods, ...RoutingService.methods].map(pathOf)
const COMPRESSED = 1
const COMMON = [0, 1, 2, 5, 100, 16_383, 65_535, 1_048_577, 2 ** 31, 2 ** 32 - 1]

/** One kind after the other, each with what chance decides. */
export function malformed(n: number, random: Random): Malformed {
  const names = Object.keys(KINDS)
  const kind = names[n % names.length] ?? ''
  const { headers = {}, body } = KINDS[kind]?.(random) ?? { body: Buffer.alloc(0) }
  const path = PATHS[random(PATHS.length)] ?? ''
  const plain = { ':method': 'POST', ':path': path, 'content-type': 'application/grpc', te: 'trailers' }
  return { kind, headers: { ...plain, ...headers }, body }
}

const KINDS: Record<string, (random: Random) => { headers?: Record<string, string>; body: Uint8Array }> = {
  'bytes without a frame': (random) => ({ body: bytes(random, random(300)) }),
  'bytes that are no message': (random) => ({ body: message(bytes(random, random(300))) }),
  'a frame that ends too soon': (random) => {
    const whole = message(valid())
    return { body: whole.subarray(0, random(whole.length)) }
  },
  'a length that lies': (random) => ({ body: message(valid(), { length: one(random, COMMON) }) }),
  'unknown flags': (random) => ({ body: message(valid(), { flags: 2 + random(254) }) }),
  'no message, or several': (random) => ({
    body: Buffer.concat(Array.from({ length: one(random, [0, 2, 3]) }, () => message(valid()))),
  }),
  'wrong bits in a message': (random) => ({ body: message(spoiled(random, valid())) }),
  'fields of other types': (random) => ({ body: message(fields(random, 3)) }),
  'a message in a message in a message': (random) => ({ body: message(nested(random)) }),
  'text that is no UTF-8': (random) => {
    const text = Buffer.of(0xc3, 0x28, 0xff, 0xed, 0xa0, 0x80).subarray(random(5))
    return { body: message(Buffer.of(((1 + random(6)) << 3) | 2, text.length, ...text)) }
  },
  'spoiled gzip': (random) => ({
    headers: { 'grpc-encoding': 'gzip' },
    body: message(spoiled(random, gzipSync(valid(), { level: 1 })), { flags: COMPRESSED }),
  }),
  'compression that was not announced': (random) => ({
    headers: random(2) ? { 'grpc-encoding': one(random, ['br', 'zstd', 'identity', 'gzip, gzip', ' ']) } : {},
    body: message(valid(), { flags: COMPRESSED }),
  }),
  'another content type': (random) => ({
    headers: {
      'content-type': one(random, [
        '',
        'text/plain',
        'application/json',
        'application/grpc+json',
        'application/grpc+xml',
        'application/grpc-web',
        'application/grpcx',
        'application/grpc; charset=x',
        'application/connect+proto',
      ]),
    },
    body: message(valid()),
  }),
  'another HTTP method': (random) => ({
    headers: { ':method': one(random, ['PUT', 'PATCH', 'DELETE', 'OPTIONS', 'FROB']) },
    body: message(valid()),
  }),
  'a path to nowhere': (random) => ({
    headers: { ':path': one(random, ['/', '*', '//', '/%00', '/bank.signature.v1.SignatureService/', '/a?b#c', '/é']) },
    body: message(valid()),
  }),
  'an authority that is none': (random) => ({
    headers: { ':authority': one(random, ['', ':', '[', '%', 'a b', 'host:99999999', '\u00ff']) },
    body: message(valid()),
  }),
  'an unreadable deadline': (random) => ({
    headers: {
      'grpc-timeout': one(random, ['', 'S', '-1S', '1', '1x', '999999999S', '99999999H', '1.5S', '0n', '٣S']),
    },
    body: message(valid()),
  }),
  'binary headers that are none': (random) => ({
    headers: {
      'trace-bin': one(random, ['!', '=', 'a', 'ab=c', '%%%%', ',', 'AAAA,!']),
      'grpc-status-details-bin': '?',
    },
    body: message(valid()),
  }),
}

function valid(): Uint8Array {
  return toBinary(StartSignatureRequestSchema, create(StartSignatureRequestSchema, startRequest()))
}

function one<T>(random: Random, values: readonly [T, ...T[]] | readonly T[]): T {
  return values[random(values.length)] as T
}

function bytes(random: Random, length: number): Buffer {
  return Buffer.from(Array.from({ length }, () => random(256)))
}

/** With some bytes changed, and now and then cut off. */
function spoiled(random: Random, whole: Uint8Array): Uint8Array {
  const copy = Buffer.from(whole)
  for (let times = 1 + random(4); times > 0; times -= 1) copy[random(copy.length)] = random(256)
  return random(3) ? copy : copy.subarray(0, random(copy.length))
}

/** Fields with any number and type, as protobuf writes them, some of them messages again. */
function fields(random: Random, depth: number): Buffer {
  const field = () => {
    const tag = (1 + random(15)) << 3
    const content = depth > 0 && random(2) ? fields(random, depth - 1) : bytes(random, random(8))
    const short = content.subarray(0, 127)
    return one<() => Buffer>(random, [
      () => Buffer.of(tag, random(128)),
      () => Buffer.concat([Buffer.of(tag | 1), bytes(random, 8)]),
      () => Buffer.concat([Buffer.of(tag | 2, short.length), short]),
      () => Buffer.of(tag | 3, tag | 4),
      () => Buffer.concat([Buffer.of(tag | 5), bytes(random, 4)]),
      () => Buffer.concat([Buffer.of(tag), Buffer.alloc(9, 0xff), Buffer.of(random(256))]),
    ])()
  }
  return Buffer.concat(Array.from({ length: random(6) }, field))
}

/** Groups in groups, or messages in messages. */
function nested(random: Random): Buffer {
  const tag = (1 + random(15)) << 3
  const depth = one(random, [10, 99, 101, 1_000, 20_000])
  if (random(2)) return Buffer.concat([Buffer.alloc(depth, tag | 3), Buffer.alloc(random(2) ? depth : 0, tag | 4)])
  let inner = Buffer.alloc(0)
  for (let n = 0; n < Math.min(depth, 1_000); n += 1) {
    const { length } = inner
    inner = Buffer.concat([Buffer.of(tag | 2, (length & 0x7f) | 0x80, (length >> 7) & 0x7f), inner])
  }
  return inner
}
