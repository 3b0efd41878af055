import { setTimeout as sleep } from 'node:timers/promises'
import { AbortReason, DeliveryStatus, SignatureStatus } from '../gen/bank/signature/v1/signature_pb.ts'
import { transaction, wrongCode } from '../test/support/requests.ts'
import { ask } from './ask.ts'
import type { ProviderFault } from './provider-faults.ts'
import { violate, type World } from './world.ts'

export const SCRIPTS = [
  'sign',
  'wrong, then sign',
  'sign twice at once',
  'same key at once',
  'guess',
  'other transaction',
  'abort',
  'leave',
] as const

/** What a customer does once started. */
export type Script = (typeof SCRIPTS)[number]

const STATUS = new Map(Object.entries(SignatureStatus).map(([name, value]) => [value as number, name]))

type State = 'SIGNED' | 'FAILED' | 'EXPIRED' | 'ABORTED'

/** Someone with a phone of their own, and what they were told. */
export interface Customer {
  key: string
  phone: string
  script: Script
  /** Which replica they ask first. */
  home: number
  fault: ProviderFault | undefined
  /** How long they wait for their first answer before they ask again, and then longer. */
  patienceMs: number
  signatureId: string | undefined
  /** Empty when the start failed. */
  told: string[]
  /** How often they had to ask again. */
  repeats: number
  signed: number
  rejected: number
  /** All tries were taken, perhaps by calls that died: then nobody could close the signature before its time. */
  mayExpire: boolean
  /** How the signature must end, by what they were told. */
  state: State | undefined
}

/** A customer who has not asked for anything yet. */
export function newCustomer(world: World, of: Pick<Customer, 'script' | 'home'> & Partial<Customer>): Customer {
  const number = world.customers.length
  const customer: Customer = {
    key: `chaos-${number}`,
    phone: `+3460${String(1_000_000 + number)}`,
    fault: undefined,
    patienceMs: 7_000,
    signatureId: undefined,
    told: [],
    repeats: 0,
    signed: 0,
    rejected: 0,
    mayExpire: false,
    state: undefined,
    ...of,
  }
  world.customers.push(customer)
  return customer
}

/** Starts a signature and does as the script says, until it is known how it ends. */
export async function play(world: World, customer: Customer): Promise<void> {
  const started = await start(world, customer)
  if (!started) return
  const code = await shownCode(world, customer)
  const { script } = customer
  if (script === 'leave') customer.state = 'EXPIRED'
  // Nothing has arrived, or nobody knows.
  else if (code === undefined || script === 'abort') await abort(world, customer)
  else if (script === 'other transaction') await complete(world, customer, code, { payeeName: 'Mallory' })
  else if (script === 'guess') await guess(world, customer, code)
  else {
    if (script === 'wrong, then sign') await complete(world, customer, wrongCode(code))
    const twice = script === 'sign twice at once' ? [0, 1, 0, 1] : [0]
    if (!customer.state) await Promise.all(twice.map((other) => complete(world, customer, code, {}, other)))
  }
  await read(world, customer)
}

/** How a signature has ended of which a start is refused so. */
const END_OF_START: Record<string, Customer['state']> = {
  DESTINATION_UNREACHABLE: 'FAILED',
  PROVIDER_UNAVAILABLE: 'FAILED',
  SIGNATURE_EXPIRED: 'EXPIRED',
}

/** Whether there is a signature now that goes on. */
async function start(world: World, customer: Customer): Promise<boolean> {
  const { key, phone, script } = customer
  const request = {
    idempotencyKey: key,
    customerId: `customer ${key}`,
    phoneNumber: phone,
    transaction: transaction({ reference: key }),
  }
  const once = (other: number) =>
    ask(world, customer, 'Start', other, (client, options) => client.startSignature(request, options))
  const answers = await Promise.all((script === 'same key at once' ? [0, 1, 0] : [0]).map(once))
  for (const answer of answers) {
    if ('refused' in answer) {
      customer.signatureId ??= answer.metadata.signature_id
      const state = END_OF_START[answer.refused]
      if (!state) violate(world, 'a start is answered', `${key}: ${answer.refused} ${answer.message}`)
      if (answer.metadata.signature_id !== customer.signatureId) {
        violate(world, 'one signature per key', `${key}: ${answer.metadata.signature_id}, ${customer.signatureId}`)
      }
      customer.state = state
      customer.told.push(answer.refused)
      continue
    }
    const { signature, challenge } = answer.ok
    customer.signatureId ??= signature?.id
    if (signature?.id !== customer.signatureId) {
      violate(world, 'one signature per key', `${key}: ${signature?.id}, ${customer.signatureId}`)
    }
    customer.told.push(challenge?.deliveryStatus === DeliveryStatus.UNKNOWN ? 'UNKNOWN' : 'SENT')
  }
  return customer.state === undefined
}

/** What the phone shows, once a message may have come. */
async function shownCode(world: World, { phone }: Customer): Promise<string | undefined> {
  const code = () => world.vendor.codes(phone).at(-1)
  if (code() === undefined) await sleep(20)
  return code()
}

async function complete(
  world: World,
  customer: Customer,
  code: string,
  changed: { payeeName?: string } = {},
  other = 0,
): Promise<void> {
  const { key, signatureId = '' } = customer
  const isRight = world.vendor.codes(customer.phone).includes(code) && changed.payeeName === undefined
  const request = { signatureId, code, transaction: transaction({ reference: key, ...changed }) }
  const answer = await ask(world, customer, 'Complete', other, (client, options) =>
    client.completeSignature(request, options),
  )
  if ('ok' in answer) {
    customer.signed++
    customer.state = 'SIGNED'
    if (!isRight) violate(world, 'only the right code signs', `${key} was signed by ${code}`)
    return
  }
  const { refused, asked } = answer
  switch (refused) {
    case 'CODE_REJECTED':
      customer.rejected++
      if (isRight) violate(world, 'the right code signs', `${key}: ${code} was rejected`)
      return
    case 'SIGNATURE_ALREADY_SIGNED':
      if (customer.script !== 'sign twice at once' && asked === 1) {
        violate(world, 'told the truth', `${key}: already signed, at the first call`)
      }
      customer.state = 'SIGNED'
      return
    case 'TRANSACTION_MISMATCH':
    case 'SIGNATURE_ABORTED':
      if (changed.payeeName === undefined) violate(world, 'told the truth', `${key}: ${refused}`)
      customer.state = 'ABORTED'
      return
    case 'SIGNATURE_EXPIRED':
      customer.state ??= 'EXPIRED'
      return
    case 'TRIES_EXHAUSTED':
      customer.mayExpire = true
      customer.state ??= 'FAILED'
      return
    default:
      violate(world, 'a completion is answered', `${key}: ${refused} ${answer.message}`)
  }
}

/** More wrong codes at once than there are tries, over both replicas. */
async function guess(world: World, customer: Customer, code: string): Promise<void> {
  const guesses = Array.from({ length: world.maxTries + 3 }, (_, at) => wrongCode(String((Number(code) + at) % 1e6)))
  await Promise.all(guesses.map((wrong, at) => complete(world, customer, wrong, {}, at % 2)))
  customer.state ??= 'FAILED'
}

async function abort(world: World, customer: Customer): Promise<void> {
  const request = { signatureId: customer.signatureId ?? '', reason: AbortReason.USER_CANCELLED }
  const answer = await ask(world, customer, 'Abort', 0, (client, options) => client.abortSignature(request, options))
  if ('ok' in answer) customer.state = 'ABORTED'
  else if (answer.refused === 'SIGNATURE_EXPIRED') customer.state = 'EXPIRED'
  else violate(world, 'an abort is answered', `${customer.key}: ${answer.refused} ${answer.message}`)
}

async function read(world: World, customer: Customer): Promise<void> {
  const request = { signatureId: customer.signatureId ?? '' }
  const answer = await ask(world, customer, 'Get', 0, (client, options) => client.getSignature(request, options))
  if ('refused' in answer) {
    return violate(world, 'nothing accepted is lost', `${customer.key}: ${request.signatureId} ${answer.refused}`)
  }
  const status = STATUS.get(answer.ok.signature?.status ?? 0)
  if (status === 'EXPIRED' && customer.mayExpire) customer.state = 'EXPIRED'
  if (status !== 'PENDING' && status !== customer.state) {
    violate(world, 'told the truth', `${customer.key}: ${status} read, ${customer.state} told`)
  }
}
