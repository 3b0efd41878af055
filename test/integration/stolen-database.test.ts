import { createHash, createHmac, hash } from 'node:crypto'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { type App, codeIn, PHONE, start, startApp, startRequest, wrongCode } from '../support/app.ts'
import { exchangesOf } from '../support/exchange.ts'
import { publish, route } from '../support/routing.ts'
import { dumpRows, forgetSend, post, reported, twilioReceipt } from '../support/webhooks.ts'

/** Of a signature whose code a thief wants who has the database, and knows the number and everything that vendors say. */
let app: App
let code: string
let text: string
/** What the vendor answered, which repeats the text. */
let answer: string
/** What vendors reported, as it came. */
let receipts: string[]
let stolen: string

beforeAll(async () => {
  app = await startApp()
  await publish(app, [
    route(10, { SMS: ['vonage-sms'] }, { customerSegment: 'VONAGE' }),
    route(20, { VOICE: ['twilio-voice'] }, { customerSegment: 'PHONE' }),
    route(30, { SMS: ['twilio-sms'] }),
  ])
  app.sandbox.failNext({ provider: 'vonage-sms', receipts: [{ status: 'delivered' }] })
  for (const customerSegment of ['VONAGE', 'PHONE']) await app.client.startSignature(startRequest({ customerSegment }))
  await reported(app, 1)

  const lost = await start(app)
  const receipt = twilioReceipt(app, {
    challengeId: lost.challengeId,
    sid: app.sandbox.messages[0]?.sid ?? '',
    status: 'sent',
  })
  await forgetSend(app, lost.challengeId)
  await post(app, receipt)
  receipts = [app.sandbox.receipts[0]?.body ?? '', receipt.body]

  const { challengeId } = await start(app)
  text = app.sandbox.messages[0]?.body ?? ''
  code = codeIn(text)
  const [exchange] = (await exchangesOf(app, challengeId)) as { response: { body: string } }[]
  answer = exchange?.response.body.replace('######', code) ?? ''
  stolen = Object.values(await dumpRows(app))
    .flat()
    .join('\n')
})
afterAll(() => app[Symbol.asyncDispose]())

/** The codes, of all there are, with which a hash of the vendor's answer is in a dump. */
function codesFoundIn(dump: string): string[] {
  const hashes = new Set(decoded(dump).flatMap((reading) => reading.match(/[0-9a-f]{64}/g) ?? []))
  const bytes = Buffer.from(answer)
  const at = bytes.indexOf(code)
  const found: string[] = []
  for (let candidate = 0; candidate < 1_000_000; candidate++) {
    const digits = String(candidate).padStart(6, '0')
    bytes.write(digits, at, 'latin1')
    if (hashes.has(hash('sha256', bytes))) found.push(digits)
  }
  return found
}

// Each attack also finds what is planted for it, and must find nothing else.

test('of all million codes none is found by a hash of the answer', () => {
  expect(answer).toContain(JSON.stringify(text))
  expect(answer).toContain(PHONE)
  const other = wrongCode(code)
  expect(codesFoundIn(`${stolen}\n${hash('sha256', answer.replace(code, other))}`)).toEqual([other])
})

test('nothing stored is a hash of code, text, answer, receipt or number, salted or keyed by what is stored', () => {
  const planted = [
    createHash('md5').update(text).digest('hex'),
    tokenWith(
      createHash('sha256')
        .update(receipts[0] ?? '')
        .digest('hex'),
    ),
    createHash('sha1').update(`salt-7f${PHONE}`).digest('base64'),
    createHmac('sha512', 'salt-7f').update(code).digest('hex'),
  ]
  expect(matches([stolen, 'salt-7f', ...planted].join('\n'))).toEqual(
    ['md5 of text', 'sha1 of phone', 'sha512 of code', 'sha256 of receipt'].toSorted(),
  )
})

/** What a thief finds who hashes what is wanted in every way, by itself and with each stored value. */
function matches(dump: string): string[] {
  const readings = decoded(dump).join('\n')
  const [vonages = '', twilios = ''] = receipts
  const wanted = {
    code,
    text,
    answer,
    phone: PHONE,
    'phone and code': PHONE + code,
    receipt: vonages,
    'Twilio receipt': twilios,
  }
  const stored = [...new Set(dump.match(/[^\s,()"{}]{1,200}/g))].flatMap((value) => {
    const hex = /^\\+x((?:[0-9a-f]{2})+)$/.exec(value)?.[1]
    return hex === undefined ? [Buffer.from(value)] : [Buffer.from(hex, 'hex')]
  })
  const found = Object.entries(wanted).flatMap(([name, value]) =>
    ['md5', 'sha1', 'sha256', 'sha512']
      .filter((algorithm) => {
        const plain = createHash(algorithm).update(value).digest()
        const withStored = stored.flatMap((salt) => [
          createHash(algorithm).update(salt).update(value).digest(),
          createHash(algorithm).update(value).update(salt).digest(),
          createHmac(algorithm, salt).update(value).digest(),
        ])
        return [plain, ...withStored].some(
          (digest) => readings.includes(digest.toString('hex')) || readings.includes(digest.toString('base64')),
        )
      })
      .map((algorithm) => `${algorithm} of ${name}`),
  )
  return found.toSorted()
}

/** A dump, and what is in it behind base64. */
function decoded(dump: string): string[] {
  const runs = dump.match(/[\w+/-]{16,}/g) ?? []
  return [dump, ...runs.map((run) => Buffer.from(run, 'base64').toString('latin1'))]
}

function tokenWith(payload_hash: string): string {
  return ['{"alg":"HS256"}', JSON.stringify({ payload_hash }), 'mac']
    .map((part) => Buffer.from(part).toString('base64url'))
    .join('.')
}
