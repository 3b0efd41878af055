import { timestampFromDate } from '@bufbuild/protobuf/wkt'
import { expect } from 'vitest'
import { ProviderState } from '../../gen/bank/signature/v1/routing_pb.ts'
import { SignatureStatus } from '../../gen/bank/signature/v1/signature_pb.ts'
import { unseal } from '../../src/domain/sealed.ts'
import { parseSpokenCode, spokenCodePlace } from '../../src/domain/spoken-code.ts'
import type { SimulatedCall } from '../../src/sandbox/sandbox.ts'
import { KEY_RING } from '../../src/secrets/key-rules.ts'
import { type App, codeIn, failure, transaction, typeName } from './app.ts'

/**
 * The code that a call is for, whatever the vendor is asked to do with it. That of a phone call waits sealed until a key is
 * pressed, under the service's keys.
 */
export function codeOf({ provider, form, json }: Pick<SimulatedCall, 'provider' | 'form' | 'json'>, env: Env): string {
  switch (provider) {
    case 'twilio-sms':
      return codeIn(form.get('Body') ?? '')
    case 'vonage-sms':
      return codeIn((json as { text: string }).text)
    case 'twilio-voice':
      return sealedCode(form.get('Twiml') ?? '', env)
    case 'fcm-push':
      return (json as { message: { data: { code: string } } }).message.data.code
    default:
      throw new Error(`where the code is in a call to ${provider} is not known`)
  }
}

type Env = { PII_KEYS?: string }

function sealedCode(twiml: string, { PII_KEYS = '' }: Env): string {
  const [, challengeId = '', code = ''] = /challenge=([\w-]+)&amp;attempt=\d+&amp;code=([\w.-]+)[#"]/.exec(twiml) ?? []
  const [keys, sealed] = [KEY_RING.parse(PII_KEYS), parseSpokenCode(code)]
  if (!keys || !sealed) throw new Error(`no code in ${twiml}`)
  return unseal(keys, sealed, spokenCodePlace(challengeId))
}

/** Who was called, in order. */
export function called({ sandbox }: Pick<App, 'sandbox'>): string[] {
  return sandbox.calls.map(({ provider }) => provider)
}

/** The codes that a provider was told, each once, in order. */
export function codesTold({ sandbox, env }: Pick<App, 'sandbox' | 'env'>, provider?: string): string[] {
  const calls = sandbox.calls.filter((call) => provider === undefined || call.provider === provider)
  return [...new Set(calls.map((call) => codeOf(call, env)))]
}

/** A signature's challenges, oldest first, each with what came before it and the calls that were made for it. */
export async function challengesOf({ db }: Pick<App, 'db'>, signatureId: string | undefined) {
  const rows = await db
    .selectFrom('challenge')
    .selectAll()
    .where('signature_id', '=', String(signatureId))
    .orderBy('created_at')
    .orderBy('id')
    .execute()
  const attempts = await db
    .selectFrom('attempt')
    .selectAll()
    .where('challenge_id', 'in', [...rows.map(({ id }) => id), '00000000-0000-0000-0000-000000000000'])
    .orderBy('number')
    .execute()
  return rows.map(({ passed_over, ...row }) => ({
    ...row,
    passedOver: passed_over.map(({ provider, reason }) => `${provider} ${reason}`),
    attempts: attempts
      .filter(({ challenge_id }) => challenge_id === row.id)
      .map(({ outcome, provider_error_code }) => [outcome, provider_error_code].filter(Boolean).join(' ')),
  }))
}

/**
 * A signature's timeline, a line for each event: its type, which challenge of the signature it is about, and its details
 * in the order in which they matter.
 */
export async function history({ client }: Pick<App, 'client'>, signatureId: string | undefined): Promise<string[]> {
  const { signature } = await client.getSignature({ signatureId: signatureId ?? '' })
  return (signature?.timeline ?? []).map(({ type, challengeId, details }) => {
    const number = (signature?.challengeIds.indexOf(challengeId) ?? -1) + 1
    const { provider, reason, provider_error_code, attempts, tries_remaining } = details
    return [
      typeName(type),
      number > 0 && `#${number}`,
      provider,
      reason,
      provider_error_code,
      attempts && `after ${attempts}`,
      tries_remaining && `${tries_remaining} left`,
    ]
      .filter(Boolean)
      .join(' ')
  })
}

/** Asserts that of all codes told for a signature only the one told last signs it, and that the others cost a try each. */
export async function expectOnlyTheLastCodeSigns(
  app: Pick<App, 'client' | 'sandbox' | 'db' | 'env'>,
  signatureId = '',
): Promise<void> {
  const codes = codesTold(app)
  expect(codes).toHaveLength((await challengesOf(app, signatureId)).length)
  for (const [index, code] of codes.slice(0, -1).entries()) {
    const error = await failure(app.client.completeSignature({ signatureId, code, transaction: transaction() }))
    expect(error).toMatchObject({ reason: 'CODE_REJECTED', metadata: { tries_remaining: String(2 - index) } })
  }
  const code = codes.at(-1) ?? ''
  const { signature } = await app.client.completeSignature({ signatureId, code, transaction: transaction() })
  expect(signature?.status).toBe(SignatureStatus.SIGNED)
  expect((await challengesOf(app, signatureId)).at(-1)).toMatchObject({ status: 'COMPLETED' })
}

/** So many of the same. */
export function times<const T>(count: number, what: T): T[] {
  return Array.from({ length: count }, () => what)
}

/** Pauses a provider or enables it. Resolves when the replica that was asked obeys. */
export async function setPaused({ routing }: Pick<App, 'routing'>, provider: string, paused: boolean): Promise<void> {
  await routing.setProviderState({
    provider,
    state: paused ? ProviderState.PAUSED : ProviderState.ENABLED,
    ...(paused && { pauseUntil: timestampFromDate(new Date(Date.now() + 60_000)) }),
    author: 'ops@bank.example',
    reason: 'for a test',
  })
}
