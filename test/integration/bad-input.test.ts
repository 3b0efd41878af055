import { randomUUID } from 'node:crypto'
import { create, toBinary } from '@bufbuild/protobuf'
import { Code } from '@connectrpc/connect'
import { sql } from 'kysely'
import { MAX, NIL, v4 } from 'uuid'
import { afterAll, beforeAll, expect, test } from 'vitest'
import {
  type Channel,
  SignatureService,
  StartSignatureRequestSchema,
} from '../../gen/bank/signature/v1/signature_pb.ts'
import {
  type App,
  type Failure,
  failure,
  PHONE,
  row,
  start,
  startApp,
  startRequest,
  transaction,
} from '../support/app.ts'
import { createGrpcJsClient, grpcJsFailure, pathOf } from '../support/grpc-js.ts'
import { seededRandom } from '../support/seeded-random.ts'

let app: App
let tables: string[]
beforeAll(async () => {
  app = await startApp()
  tables = (await app.db.introspection.getTables()).map(({ name }) => name)
})
afterAll(() => app[Symbol.asyncDispose]())

type Start = ReturnType<typeof startRequest>
type Money = { currencyCode?: string; units?: bigint; nanos?: number }

/** How many rows each table has, and how many messages the provider was asked to send. */
async function traces(): Promise<Record<string, number>> {
  const counts = tables.map((name) => sql`(SELECT count(*)::int FROM ${sql.table(name)}) AS ${sql.ref(name)}`)
  const { rows } = await sql<Record<string, number>>`SELECT ${sql.join(counts)}`.execute(app.db)
  return { ...rows[0], calls: app.sandbox.calls.length }
}

/** The failure of a call that must leave no trace. */
async function refused(call: () => Promise<unknown>, read = failure): Promise<Failure> {
  const before = await traces()
  const error = await read(call())
  expect(await traces()).toEqual(before)
  return error
}

const invalid = (...fields: string[]) => ({ code: Code.InvalidArgument, reason: 'INVALID_FIELD', fields })
const refusedStart = (fields: Start) => refused(() => app.client.startSignature(startRequest(fields)))
const amount = (money: Money): Start => ({
  transaction: transaction({ amount: { currencyCode: 'EUR', units: 1n, nanos: 0, ...money } }),
})

test('a request that is wrong in every field is told of every one at once', async () => {
  const wrong: Start = {
    idempotencyKey: '',
    customerId: '',
    phoneNumber: '',
    channel: 99 as Channel,
    locale: 'en_US',
    transaction: {
      amount: { currencyCode: 'eur', units: -1n, nanos: -1 },
      payeeName: '',
      payeeAccount: '',
      transactionType: 'x'.repeat(65),
      reference: 'x'.repeat(141),
    },
  }
  const { message, ...error } = await refusedStart(wrong)

  const fields = [
    'idempotency_key',
    'customer_id',
    'phone_number',
    'transaction.amount.currency_code',
    'transaction.amount.units',
    'transaction.amount.nanos',
    'transaction.payee_name',
    'transaction.payee_account',
    'transaction.transaction_type',
    'transaction.reference',
    'channel',
    'locale',
  ]
  expect(error).toMatchObject(invalid(...fields))
  for (const field of fields) expect(message).toContain(field)
})

test('an empty request is told of every field that it needs', async () => {
  expect(await refused(() => app.client.startSignature({}))).toMatchObject(
    invalid('idempotency_key', 'customer_id', 'phone_number', 'transaction'),
  )
  expect(await refused(() => app.client.startSignature(startRequest({ transaction: {} })))).toMatchObject(
    invalid('transaction.amount', 'transaction.payee_name', 'transaction.payee_account'),
  )
  expect(await refused(() => app.client.completeSignature({}))).toMatchObject(
    invalid('signature_id', 'code', 'transaction'),
  )
})

test.each([
  ['nothing', ''],
  ['00 for +', '0034600111222'],
  ['no plus', '34600111222'],
  ['letters', '+34600ABCDEF'],
  ['16 digits', '+1234567890123456'],
  ['6 digits', '+123456'],
  ['a country code that begins with 0', '+0600111222'],
  ['spaces', '+34 600 111 222'],
  ['a space before it', ' +34600111222'],
  ['a line feed after it', '+34600111222\n'],
  ['hyphens', '+34-600-111-222'],
  ['two plusses', '++34600111222'],
  ['an extension', '+34600111222;ext=5'],
  ['full-width digits', '+３４６００１１１２２２'],
  ['Arabic digits', '+٣٤٦٠٠١١١٢٢٢'],
  ['two numbers', '+34600111222,+34600111223'],
  ['a trunk zero', '+4407418084106'],
])('a phone number with %s is refused and not repeated', async (_, phoneNumber) => {
  const { message, ...error } = await refusedStart({ phoneNumber })
  expect(error).toMatchObject(invalid('phone_number'))
  if (phoneNumber) expect(message).not.toContain(phoneNumber)
})

test.each([
  ['zero', amount({ units: 0n }), 'transaction.amount'],
  ['negative', amount({ units: -1n }), 'transaction.amount.units'],
  ['the least int64', amount({ units: -(2n ** 63n) }), 'transaction.amount.units'],
  ['negative below one', amount({ units: 0n, nanos: -10_000_000 }), 'transaction.amount.nanos'],
  ['of nanos with another sign', amount({ units: 1n, nanos: -500_000_000 }), 'transaction.amount.nanos'],
  ['of units with another sign', amount({ units: -1n, nanos: 500_000_000 }), 'transaction.amount.units'],
  ['of a whole unit in nanos', amount({ nanos: 1_000_000_000 }), 'transaction.amount.nanos'],
  ['of the most nanos an int32 holds', amount({ nanos: 2_147_483_647 }), 'transaction.amount.nanos'],
  ['with a third decimal of a euro', amount({ nanos: 1_000_000 }), 'transaction.amount.nanos'],
  ['with a billionth of a euro', amount({ nanos: 1 }), 'transaction.amount.nanos'],
  ['with a part of a yen', amount({ currencyCode: 'JPY', nanos: 100_000_000 }), 'transaction.amount.nanos'],
  ['with a fourth decimal of a dinar', amount({ currencyCode: 'KWD', nanos: 100_000 }), 'transaction.amount.nanos'],
  ['without a currency', amount({ currencyCode: '' }), 'transaction.amount.currency_code'],
  ['in a currency that does not exist', amount({ currencyCode: 'ABC' }), 'transaction.amount.currency_code'],
  ['in a currency that is gone', amount({ currencyCode: 'BGN' }), 'transaction.amount.currency_code'],
  ['in a currency in lower case', amount({ currencyCode: 'eur' }), 'transaction.amount.currency_code'],
  ['in a currency with a space', amount({ currencyCode: 'EUR ' }), 'transaction.amount.currency_code'],
  ['in a currency with a Kelvin sign', amount({ currencyCode: '\u212AWD' }), 'transaction.amount.currency_code'],
])('an amount %s is refused', async (_, request, field) => {
  const { fields, ...error } = await refusedStart(request)
  expect(error).toMatchObject({ code: Code.InvalidArgument, reason: 'INVALID_FIELD' })
  expect([...new Set(fields)]).toEqual([field])
})

test.each([
  ['a cent', { nanos: 10_000_000, units: 0n }, '0.01 EUR'],
  ['99 cents', { nanos: 990_000_000 }, '1.99 EUR'],
  ['a yen', { currencyCode: 'JPY' }, '1 JPY'],
  ['a Caribbean guilder', { currencyCode: 'XCG', nanos: 500_000_000 }, '1.50 XCG'],
  ['a thousandth of a dinar', { currencyCode: 'KWD', nanos: 1_000_000 }, '1.001 KWD'],
  ['the most that Money holds', { units: 2n ** 63n - 1n, nanos: 990_000_000 }, '9,223,372,036,854,775,807.99 EUR'],
])('%s can be signed, to the last digit', async (_, money: Money, shown) => {
  const { signatureId, code, signature } = await start(app, amount(money))
  expect(app.sandbox.messages[0]?.body).toContain(shown)

  await app.client.completeSignature({ signatureId, code, transaction: amount(money).transaction ?? {} })

  const { signature: stored } = await app.client.getSignature({ signatureId })
  expect(stored?.transaction).toEqual(signature.transaction)
  expect(stored?.transaction?.amount).toMatchObject({ currencyCode: 'EUR', units: 1n, nanos: 0, ...money })
})

const TEXTS: [field: string, max: number, request: (text: string) => Start][] = [
  ['idempotency_key', 255, (idempotencyKey) => ({ idempotencyKey })],
  ['customer_id', 128, (customerId) => ({ customerId })],
  ['transaction.payee_name', 140, (payeeName) => ({ transaction: transaction({ payeeName }) })],
  ['transaction.payee_account', 64, (payeeAccount) => ({ transaction: transaction({ payeeAccount }) })],
  ['transaction.transaction_type', 64, (transactionType) => ({ transaction: transaction({ transactionType }) })],
  ['transaction.reference', 140, (reference) => ({ transaction: transaction({ reference }) })],
]

const UNSAFE = {
  'a NUL': 'a\0b',
  'a NUL alone': '\0',
  'a line feed': 'a\nb',
  'an escape': 'a\u001b[2Jb',
  'a delete': 'a\u007fb',
  'a C1 control': 'a\u0085b',
  'a line separator': 'a\u2028b',
  'a paragraph separator': 'a\u2029b',
  'an override from right to left': 'a\u202eb',
  'a zero-width space': 'a\u200bb',
  'nothing but spaces': '   ',
  'an embedding': 'a\u202ab',
  'an isolate': 'a\u2066b',
  'an isolate that is not closed, at the end': 'ab\u2067',
  'a mark from right to left': 'a\u200fb',
  'an Arabic letter mark': 'a\u061cb',
}

test.each(TEXTS)('%s holds no control characters and nothing that turns the text about', async (field, _, request) => {
  for (const [what, text] of Object.entries(UNSAFE)) {
    expect(await refusedStart(request(text)), what).toMatchObject(invalid(field))
  }
})

test('a payee with nothing to see is refused, in its name and in its account', async () => {
  // A blank Braille pattern, a Hangul filler, a joiner of graphemes, all at once; and what is no letter and no digit.
  for (const text of ['\u2800', '\u3164', '\u034f', '\u2800\u3164\uffa0 \u115f', '...', '?!', '\u{1f98a}']) {
    for (const field of ['payeeName', 'payeeAccount']) {
      const error = await refusedStart({ transaction: transaction({ [field]: text }) })
      expect(error).toMatchObject(
        invalid(field === 'payeeName' ? 'transaction.payee_name' : 'transaction.payee_account'),
      )
    }
  }
})

test.each(TEXTS)(
  '%s is refused when it is too long by one character, of one byte or of four',
  async (field, max, request) => {
    expect(await refusedStart(request('x'.repeat(max + 1)))).toMatchObject(invalid(field))
    expect(await refusedStart(request('🦊'.repeat(max + 1)))).toMatchObject(invalid(field))
    expect(await refusedStart(request('x'.repeat(30_000)))).toMatchObject(invalid(field))
  },
)

test('every text may be as long as it is allowed to be, counted in characters', async () => {
  const longest = (unit: string): Start => ({
    idempotencyKey: unit.repeat(255),
    customerId: unit.repeat(128),
    transaction: transaction({
      payeeName: `x${unit.repeat(139)}`,
      payeeAccount: `x${unit.repeat(63)}`,
      transactionType: unit.repeat(64),
      reference: unit.repeat(140),
    }),
  })
  for (const request of [longest('x'), longest('ñ'), longest('🦊')]) {
    const { signature } = await start(app, request)
    expect(signature.transaction).toMatchObject(request.transaction ?? {})
  }
})

test('what only looks unusual is taken as it is', async () => {
  const payeeName = "O'Brien & Søn — 株式会社 أحمد 👨‍👩‍👧 %s'; DROP TABLE signature; --"
  const { signature } = await start(app, { transaction: transaction({ payeeName }) })
  expect(signature.transaction?.payeeName).toBe(payeeName)
})

test.each([
  ['a byte that is no UTF-8', [0xff]],
  ['half a character', [0xc3]],
  ['a lone surrogate', [0xed, 0xa0, 0x80]],
  ['a slash in two bytes', [0xc0, 0xaf]],
])('%s in a text is refused, not replaced', async (_, bytes) => {
  using client = createGrpcJsClient(app.url)
  // Field 2, customer_id, as bytes.
  const message = Uint8Array.of((2 << 3) | 2, bytes.length, ...bytes)
  const call = () => client.send(pathOf(SignatureService.method.startSignature), message)
  expect(await refused(call, grpcJsFailure)).toMatchObject({ code: Code.InvalidArgument, reason: 'INVALID_FIELD' })
})

test.each([99, -1, 4, 2_147_483_647])('the channel %i is refused', async (channel) => {
  expect(await refusedStart({ channel: channel as Channel })).toMatchObject(invalid('channel'))
})

test('a channel that no route serves is NO_ROUTE', async () => {
  expect(await refusedStart({ channel: 3 })).toMatchObject({ code: Code.FailedPrecondition, reason: 'NO_ROUTE' })
})

test('a locale is a language tag, or nothing', async () => {
  for (const locale of ['', 'en', 'ES', 'es-419', 'pt-BR', 'zh-Hant-TW', 'de-CH-1996', 'en-u-ca-gregory']) {
    await start(app, { locale })
  }
  const wrong = ['e', 'en_US', 'en-', '-en', 'en US', '123', 'englishish', 'español', 'en\0', '*', '../../etc']
  for (const locale of [...wrong, `en-${'a'.repeat(40)}`, `en-x${'-abcdefgh'.repeat(5)}`]) {
    expect(await refusedStart({ locale }), locale).toMatchObject(invalid('locale'))
  }
})

test('what is no code takes no try', async () => {
  const { signatureId, challengeId, code } = await start(app)
  const complete = (submitted: string) =>
    app.client.completeSignature({ signatureId, code: submitted, transaction: transaction() })
  const fullWidth = [...code].map((digit) => String.fromCodePoint(0xff10 + Number(digit))).join('')
  const arabic = [...code].map((digit) => String.fromCodePoint(0x0660 + Number(digit))).join('')

  const malformed = [
    '',
    ` ${code}`,
    `${code} `,
    `${code}\n`,
    `\n${code}`,
    `${code}\0`,
    `\uFEFF${code}`,
    fullWidth,
    arabic,
  ]
  const wrong = [
    '1e5',
    '12345',
    '1234567',
    '1e5000',
    '0x1234',
    '-12345',
    '+12345',
    '12.345',
    '12 345',
    'abcdef',
    '......',
  ]
  for (const submitted of [...malformed, ...wrong, code.repeat(1_000)]) {
    const { message, ...error } = await refused(() => complete(submitted))
    expect(error, JSON.stringify(submitted)).toMatchObject(invalid('code'))
    expect(message).not.toContain(code)
  }
  expect(await row(app, 'challenge', challengeId)).toMatchObject({ tries_used: 0, status: 'SENT' })

  await complete(code)
  expect(await row(app, 'challenge', challengeId)).toMatchObject({ tries_used: 1, status: 'COMPLETED' })
})

test('a transaction that is no transaction takes no try and aborts nothing', async () => {
  const { signatureId, challengeId, code } = await start(app)
  const complete = (wrong: Start['transaction']) =>
    refused(() => app.client.completeSignature({ signatureId, code, ...(wrong && { transaction: wrong }) }))

  expect(await complete(undefined)).toMatchObject(invalid('transaction'))
  expect(await complete(amount({ units: -1n }).transaction)).toMatchObject(invalid('transaction.amount.units'))
  expect(await complete(transaction({ payeeName: 'ACME\u202e Ltd', reference: 'x'.repeat(141) }))).toMatchObject(
    invalid('transaction.payee_name', 'transaction.reference'),
  )
  expect(await row(app, 'challenge', challengeId)).toMatchObject({ tries_used: 0, status: 'SENT' })
  expect(await row(app, 'signature', signatureId)).toMatchObject({ status: 'PENDING' })
})

const ID = '01890a5d-ac96-774b-bcce-b302099a8057'

test.each([
  '',
  'x',
  '123',
  ID.slice(1),
  `${ID}0`,
  ` ${ID}`,
  `${ID}\n`,
  `{${ID}}`,
  `urn:uuid:${ID}`,
  ID.replaceAll('-', ''),
  ID.replace(/.$/, 'g'),
  "' OR 1=1 --",
  '\0',
  '🦊'.repeat(36),
])('%j is no id', async (id) => {
  const { client } = app
  const completion = { signatureId: id, code: '123456', transaction: transaction() }
  expect(await refused(() => client.getSignature({ signatureId: id }))).toMatchObject(invalid('signature_id'))
  expect(await refused(() => client.getChallenge({ challengeId: id }))).toMatchObject(invalid('challenge_id'))
  expect(await refused(() => client.completeSignature(completion))).toMatchObject(invalid('signature_id'))
})

test.each([ID, v4(), NIL, MAX])('an id that nothing has is not found (%#)', async (id) => {
  const { client } = app
  const completion = { signatureId: id, code: '123456', transaction: transaction() }
  const noSignature = { code: Code.NotFound, reason: 'SIGNATURE_NOT_FOUND' }
  const noChallenge = { code: Code.NotFound, reason: 'CHALLENGE_NOT_FOUND' }
  expect(await refused(() => client.getSignature({ signatureId: id }))).toMatchObject(noSignature)
  expect(await refused(() => client.completeSignature(completion))).toMatchObject(noSignature)
  expect(await refused(() => client.getChallenge({ challengeId: id }))).toMatchObject(noChallenge)
})

test("another caller's signature can neither be seen nor completed", async () => {
  const { signatureId, challengeId, code } = await start(app)
  await sql`UPDATE signature SET caller = 'another' WHERE id = ${signatureId}`.execute(app.db)
  const completion = { signatureId, code, transaction: transaction() }

  const noSignature = { code: Code.NotFound, reason: 'SIGNATURE_NOT_FOUND' }
  expect(await refused(() => app.client.completeSignature(completion))).toMatchObject(noSignature)
  expect(await row(app, 'challenge', challengeId)).toMatchObject({ tries_used: 0, status: 'SENT' })
})

test('an id in capitals is the same id', async () => {
  const { signatureId, challengeId, code } = await start(app)
  const capitals = signatureId.toUpperCase()

  await app.client.getChallenge({ challengeId: challengeId.toUpperCase() })
  const completion = { signatureId: capitals, code, transaction: transaction() }
  const { signature } = await app.client.completeSignature(completion)
  expect(signature?.id).toBe(signatureId)
})

test('a refused request does not claim its idempotency key', async () => {
  const idempotencyKey = randomUUID()
  await refusedStart({ idempotencyKey, phoneNumber: '0034600111222' })
  await start(app, { idempotencyKey, phoneNumber: PHONE })
})

test('whichever fields are wrong together, they are named and no others', async () => {
  const random = seededRandom(1)
  const mix = () => {
    const wrong: string[] = []
    const field = <T>(path: string, right: T[], broken: T[]): T => {
      const isWrong = random(4) === 0
      if (isWrong) wrong.push(path)
      const choices = isWrong ? broken : right
      return choices[random(choices.length)] as T
    }
    const text = (path: string, max: number, ...broken: string[]) =>
      field(path, ['x', `x${'🦊'.repeat(max - 1)}`], ['x'.repeat(max + 1), '\0', 'a\u202e', ...broken])
    const request: Start = {
      idempotencyKey: text('idempotency_key', 255, ''),
      customerId: text('customer_id', 128, ''),
      phoneNumber: field(
        'phone_number',
        [PHONE, '+15005550009'],
        ['', '0034600111222', '+34 600', '+1234567890123456'],
      ),
      channel: field<Channel>('channel', [0, 1], [4, -1, 99] as number[] as Channel[]),
      locale: field('locale', ['', 'en', 'es-ES'], ['e', 'en_US', '\0', 'x'.repeat(36)]),
      transaction: {
        amount: {
          currencyCode: field('transaction.amount.currency_code', ['EUR', 'USD'], ['', 'eur', 'ABC', 'EUR\0']),
          units: field('transaction.amount.units', [1n, 2n ** 63n - 1n], [-1n, -(2n ** 63n)]),
          nanos: field('transaction.amount.nanos', [0, 990_000_000], [-1, 1_000_000_000, 2 ** 31 - 1, -(2 ** 31)]),
        },
        payeeName: text('transaction.payee_name', 140, '', '\u2800'),
        payeeAccount: text('transaction.payee_account', 64, '', '\u3164'),
        transactionType: text('transaction.transaction_type', 64),
        reference: text('transaction.reference', 140),
      },
    }
    return { request, wrong }
  }
  const mixes = Array.from({ length: 300 }, mix).filter(({ wrong }) => wrong.length > 0)
  expect(mixes.length).toBeGreaterThan(250)

  const before = await traces()
  const errors = await Promise.all(mixes.map(({ request }) => failure(app.client.startSignature(request))))
  expect(await traces()).toEqual(before)

  for (const [index, { fields, ...error }] of errors.entries()) {
    expect(error).toMatchObject({ code: Code.InvalidArgument, reason: 'INVALID_FIELD' })
    expect([...new Set(fields)].sort()).toEqual(mixes[index]?.wrong.sort())
  }
})

test('noise in every field is refused like any other mistake', async () => {
  const random = seededRandom(2)
  const alphabet = [
    ...'aZ09 +-_\'"%\\;{}$\0\t\n\u007f\u0085\u00ad\u0301\u200b\u202e\u2066\u2028\ufeff\ufffdñ株🦊\u{10ffff}',
  ]
  const text = () => Array.from({ length: random(200) }, () => alphabet[random(alphabet.length)]).join('')
  const int32 = () => random(2 ** 32) - 2 ** 31
  const money = () => ({
    currencyCode: text(),
    units: BigInt(int32()) * BigInt(2 ** 32) + BigInt(random(2 ** 32)),
    nanos: int32(),
  })
  const payment = () => ({
    amount: money(),
    payeeName: text(),
    payeeAccount: text(),
    transactionType: text(),
    reference: text(),
  })
  const calls = () => [
    app.client.startSignature({
      idempotencyKey: text(),
      customerId: text(),
      phoneNumber: text(),
      channel: int32() as Channel,
      locale: text(),
      transaction: payment(),
    }),
    app.client.completeSignature({ signatureId: text(), code: text(), transaction: payment() }),
    app.client.getSignature({ signatureId: text() }),
    app.client.getChallenge({ challengeId: text() }),
  ]

  const before = await traces()
  const errors = await Promise.all(Array.from({ length: 100 }, calls).flat().map(failure))
  expect(await traces()).toEqual(before)
  for (const error of errors) expect(error).toMatchObject({ code: Code.InvalidArgument, reason: 'INVALID_FIELD' })
})

test('bytes that are nearly a request are refused like any other mistake', async () => {
  using client = createGrpcJsClient(app.url)
  const random = seededRandom(3)
  const request = startRequest({ idempotencyKey: 'key', phoneNumber: '', locale: 'es', channel: 1 })
  const whole = toBinary(StartSignatureRequestSchema, create(StartSignatureRequestSchema, request))
  const damage = (bytes: Uint8Array): Uint8Array => {
    const at = random(bytes.length)
    const kinds = [
      () => bytes.with(at, random(256)),
      () => bytes.with(at, (bytes[at] ?? 0) ^ (1 << random(8))),
      () => bytes.slice(0, at),
      () => Uint8Array.of(...bytes.slice(0, at), random(256), ...bytes.slice(at)),
      () => Uint8Array.of(...bytes.slice(0, at), ...bytes.slice(random(bytes.length))),
    ]
    const damaged = kinds[random(kinds.length)]?.() ?? bytes
    return random(3) === 0 && damaged.length > 0 ? damage(damaged) : damaged
  }
  const path = pathOf(SignatureService.method.startSignature)

  const before = await traces()
  const errors = await Promise.all(Array.from({ length: 400 }, () => grpcJsFailure(client.send(path, damage(whole)))))
  expect(await traces()).toEqual(before)
  for (const error of errors) expect(error).toMatchObject({ code: Code.InvalidArgument, reason: 'INVALID_FIELD' })
  // Both those that are no message and those that are one with wrong fields.
  expect(new Set(errors.map(({ fields }) => fields[0] === ''))).toEqual(new Set([true, false]))
})
