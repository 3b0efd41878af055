import { timestampDate } from '@bufbuild/protobuf/wkt'
import { sql } from 'kysely'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { Channel, DeliveryStatus, TimelineEventType } from '../../gen/bank/signature/v1/signature_pb.ts'
import { loadConfig } from '../../src/config.ts'
import { unseal } from '../../src/domain/sealed.ts'
import { type App, row, start, startApp, startRequest, timeline, transaction } from '../support/app.ts'
import { publish, route } from '../support/routing.ts'
import { dumpRows, keptReceipts, newSid, post, reported, twilioReceipt, vonageReceipt } from '../support/webhooks.ts'

let app: App
beforeAll(async () => {
  app = await startApp()
  await publish(app, [
    route(10, { VOICE: ['twilio-voice'] }, { channel: Channel.VOICE }),
    route(20, { SMS: ['vonage-sms'] }, { customerSegment: 'VONAGE' }),
    route(30, { SMS: ['twilio-sms'] }),
  ])
})
beforeEach(() => app.sandbox.clear())
afterAll(() => app[Symbol.asyncDispose]())

/** What GetChallenge tells of a delivery, and the events of the signature's timeline that come of receipts. */
async function told(challengeId: string) {
  const { challenge } = await app.client.getChallenge({ challengeId })
  const { signature } = await app.client.getSignature({ signatureId: challenge?.signatureId ?? '' })
  const reports = signature?.timeline.filter(({ type }) => type === TimelineEventType.DELIVERY_REPORTED)
  return { challenge, reports: reports?.map((event) => [event.challengeId === challengeId, event.details]) }
}

/** The value of a metric's line that begins so; 0 when there is none. */
async function counted(line: string): Promise<number> {
  const found = (await app.metrics()).split('\n').find((each) => each.startsWith(`${line} `))
  return Number(found?.slice(line.length) ?? 0)
}

async function startAnother(customerSegment: string, channel: Channel = Channel.UNSPECIFIED): Promise<string> {
  const { challenge } = await app.client.startSignature(startRequest({ customerSegment, channel }))
  return challenge?.id ?? ''
}

describe('what becomes of a message', () => {
  test('over Twilio is told step by step, timed and kept with its proof', async () => {
    app.sandbox.failNext({ receipts: [{ status: 'sent' }, { status: 'delivered' }] })
    const before = await counted('challenge_delivery_seconds_count{provider="twilio-sms",country="ES"}')
    const recorded = 'challenge_receipts_total{provider="twilio-sms",outcome="recorded"}'
    const recordedBefore = await counted(recorded)

    const { challengeId, signatureId } = await start(app)
    expect(app.sandbox.calls[0]?.form.get('StatusCallback')).toMatch(/&attempt=1#rc=5&rp=all$/)
    expect(await reported(app, 2)).toEqual([
      ['sent', 200],
      ['delivered', 200],
    ])

    const { challenge, reports } = await told(challengeId)
    expect(challenge).toMatchObject({
      deliveryStatus: DeliveryStatus.DELIVERED,
      deliveryReport: { vendorStatus: 'delivered', providerErrorCode: '' },
    })
    const kept = await keptReceipts(app, challengeId)
    const time = challenge?.deliveryReport?.time
    expect(time && timestampDate(time)).toEqual(kept[1]?.received_at)
    expect(reports).toEqual([
      [true, { delivery_status: 'SENT', vendor_status: 'sent' }],
      [true, { delivery_status: 'DELIVERED', vendor_status: 'delivered' }],
    ])
    expect(kept.map(({ vendor_status, key_name, attempt }) => [vendor_status, key_name, attempt])).toEqual([
      ['sent', 'current', 1],
      ['delivered', 'current', 1],
    ])
    const { keys } = await loadConfig(app.env)
    if (!keys) throw new Error('no keys')
    for (const [index, { body_ciphertext: ciphertext, body_key_id: keyId, signature }] of kept.entries()) {
      const body = unseal(keys.pii, { ciphertext, keyId }, `${challengeId}/receipt`)
      expect(body).toBe(app.sandbox.receipts[index]?.body)
      expect(signature).toBe(app.sandbox.receipts[index]?.headers['X-Twilio-Signature'])
    }
    expect(await row(app, 'challenge', challengeId)).toMatchObject({ status: 'SENT', receipt_due_at: null })
    expect(await timeline(app, signatureId)).toEqual([
      'SIGNATURE_STARTED',
      'CHALLENGE_STARTED',
      'CHALLENGE_SENT',
      'DELIVERY_REPORTED',
      'DELIVERY_REPORTED',
    ])
    expect(await counted('challenge_delivery_seconds_count{provider="twilio-sms",country="ES"}')).toBe(before + 1)
    expect(await counted(recorded)).toBe(recordedBefore + 2)
  })

  test('over voice is told of the call, whose steps Twilio was asked for, and whose code nobody wanted to hear', async () => {
    const steps = ['initiated', 'ringing', 'in-progress', 'completed'].map((status) => ({ status }))
    app.sandbox.failNext({ provider: 'twilio-voice', receipts: steps })
    const challengeId = await startAnother('', Channel.VOICE)
    const asked = app.sandbox.calls[0]?.form.getAll('StatusCallbackEvent')
    expect(asked).toEqual(['initiated', 'answered', 'completed'])
    expect(app.sandbox.calls[0]?.form.get('StatusCallback')).toMatch(/&attempt=1#rc=5&rp=all$/)
    expect(await reported(app, steps.length)).toEqual(steps.map(({ status }) => [status, 200]))
    expect(await told(challengeId)).toMatchObject({
      challenge: { deliveryStatus: DeliveryStatus.UNDELIVERED, deliveryReport: { vendorStatus: 'completed' } },
      reports: [
        [true, { vendor_status: 'initiated' }],
        [true, { vendor_status: 'ringing' }],
        [true, { delivery_status: 'UNDELIVERED', vendor_status: 'completed' }],
      ],
    })
    expect(await keptReceipts(app, challengeId)).toHaveLength(4)
  })

  test('over Vonage is told and kept with its token', async () => {
    app.sandbox.failNext({ provider: 'vonage-sms', receipts: [{ status: 'submitted' }, { status: 'delivered' }] })
    const challengeId = await startAnother('VONAGE')
    expect(await reported(app, 2)).toEqual([
      ['submitted', 200],
      ['delivered', 200],
    ])
    expect((await told(challengeId)).reports).toEqual([
      [true, { delivery_status: 'SENT', vendor_status: 'submitted' }],
      [true, { delivery_status: 'DELIVERED', vendor_status: 'delivered' }],
    ])
    const [, last] = await keptReceipts(app, challengeId)
    expect(last).toMatchObject({ key_name: 'signature secret', vendor_status: 'delivered' })
    const [, header, , mac] =
      /^Bearer (.*)\.(.*)\.(.*)$/.exec(app.sandbox.receipts[1]?.headers.Authorization ?? '') ?? []
    const [, claims = ''] = new RegExp(`^${header}\\.(.*)\\.${mac}$`).exec(last?.signature ?? '') ?? []
    expect(JSON.parse(Buffer.from(claims, 'base64url').toString())).toMatchObject({ iss: 'Vonage', payload_hash: '' })
    expect(await counted('challenge_delivery_seconds_count{provider="vonage-sms",country="ES"}')).toBe(1)
  })

  test.each([
    ['twilio-sms', '', 'undelivered', '30003'],
    ['twilio-sms', '', 'failed', '30008'],
    ['vonage-sms', 'VONAGE', 'rejected', '1430'],
  ] as const)('over %s (%s) is told with the code when it was %s', async (provider, segment, status, code) => {
    app.sandbox.failNext({ provider, receipts: [{ status, errorCode: Number(code) }] })
    const challengeId = await startAnother(segment)
    expect(await reported(app, 1)).toEqual([[status, 200]])
    const { challenge, reports } = await told(challengeId)
    expect(challenge).toMatchObject({
      deliveryStatus: DeliveryStatus.UNDELIVERED,
      deliveryReport: { vendorStatus: status, providerErrorCode: code },
    })
    expect(reports).toEqual([
      [true, { delivery_status: 'UNDELIVERED', vendor_status: status, provider_error_code: code }],
    ])
    expect(await keptReceipts(app, challengeId)).toMatchObject([{ provider_error_code: code }])
  })

  test('is never lowered, and what is repeated is kept once', async () => {
    const repeated = 'challenge_receipts_total{provider="twilio-sms",outcome="repeated"}'
    const before = await counted(repeated)
    const { challengeId } = await start(app)
    const sid = app.sandbox.messages[0]?.sid ?? ''
    for (const status of ['delivered', 'sent', 'queued', 'delivered', 'sent', 'exotic']) {
      expect(await post(app, twilioReceipt(app, { challengeId, sid, status }))).toBe(200)
    }
    expect((await told(challengeId)).reports).toHaveLength(1)
    expect(await row(app, 'challenge', challengeId)).toMatchObject({
      delivery_status: 'DELIVERED',
      vendor_status: 'delivered',
    })
    expect((await keptReceipts(app, challengeId)).map(({ vendor_status }) => vendor_status)).toEqual([
      'delivered',
      'sent',
      'queued',
      'exotic',
    ])
    expect(await counted(repeated)).toBe(before + 2)
  })

  test('says nothing of another message of the same challenge', async () => {
    const { challengeId } = await start(app)
    const receipt = twilioReceipt(app, { challengeId, attempt: 2, sid: newSid(), status: 'undelivered' })
    const before = await row(app, 'challenge', challengeId)
    expect(await post(app, receipt)).toBe(200)
    expect(await row(app, 'challenge', challengeId)).toEqual({ ...before, receipt_due_at: null })
    expect(await keptReceipts(app, challengeId)).toMatchObject([{ attempt: 2 }])
  })

  test('is told by lines that name nobody', () => {
    const lines = app.logs.filter(({ msg }) => msg === 'receipt')
    expect(lines.length).toBeGreaterThan(10)
    expect(lines[0]).toMatchObject({
      level: 'info',
      provider: 'twilio-sms',
      challenge_id: expect.stringMatching(/^[0-9a-f-]{36}$/),
      status: 'sent',
      outcome: 'recorded',
    })
    expect(JSON.stringify(app.logs)).not.toMatch(/600111222|%2B34|MessageSid|message_uuid/)
  })
})

describe('of a signature that has ended, a receipt changes only the delivery status', () => {
  test.each([
    ['signed', 'SIGNED', 'COMPLETED'],
    ['aborted', 'ABORTED', 'CANCELLED'],
    ['expired', 'EXPIRED', 'EXPIRED'],
  ] as const)('%s', async (how, status, challengeStatus) => {
    const { signatureId, challengeId, code } = await start(app)
    if (how === 'signed') await app.client.completeSignature({ signatureId, code, transaction: transaction() })
    if (how === 'aborted') {
      const other = { ...transaction(), payeeName: 'Another' }
      await app.client.completeSignature({ signatureId, code, transaction: other }).catch(() => {})
    }
    if (how === 'expired') {
      await sql`UPDATE signature SET expires_at = clock_timestamp() WHERE id = ${signatureId}`.execute(app.db)
      await app.client.getSignature({ signatureId })
    }
    const signature = await row(app, 'signature', signatureId)
    const challenge = await row(app, 'challenge', challengeId)
    expect([signature?.status, challenge?.status]).toEqual([status, challengeStatus])

    const sid = String(challenge?.provider_challenge_id)
    expect(await post(app, twilioReceipt(app, { challengeId, sid, status: 'undelivered', errorCode: '30003' }))).toBe(
      200,
    )

    expect(await row(app, 'signature', signatureId)).toEqual(signature)
    expect(await row(app, 'challenge', challengeId)).toEqual({
      ...challenge,
      delivery_status: 'UNDELIVERED',
      vendor_status: 'undelivered',
      delivery_error_code: '30003',
      delivery_reported_at: expect.any(Date),
      receipt_due_at: null,
    })
    expect(await timeline(app, signatureId)).toContain('DELIVERY_REPORTED')
  })
})

test('a receipt of nothing that we sent is answered well, counted, and changes nothing', async () => {
  const { challengeId } = await start(app)
  const other = await startAnother('VONAGE')
  const unknown = (provider: string) => counted(`challenge_receipts_total{provider="${provider}",outcome="unknown"}`)
  const before = await dumpRows(app)
  const [twilios, vonages] = [await unknown('twilio-sms'), await unknown('vonage-sms')]

  const told = { sid: newSid(), status: 'delivered' }
  expect(await post(app, twilioReceipt(app, { ...told, challengeId: crypto.randomUUID() }))).toBe(200)
  expect(await post(app, twilioReceipt(app, { ...told, challengeId: other }))).toBe(200)
  expect(await post(app, await vonageReceipt({ ...told, challengeId, sid: crypto.randomUUID() }))).toBe(200)

  expect(await dumpRows(app)).toEqual(before)
  expect([await unknown('twilio-sms'), await unknown('vonage-sms')]).toEqual([twilios + 2, vonages + 1])
})
